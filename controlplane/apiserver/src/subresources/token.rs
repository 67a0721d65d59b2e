//! `token`: a TokenRequest for a service account.

use api::Status;
use http::StatusCode;

use crate::{
    admission,
    call::Call,
    clock,
    respond::{self, Reply},
};

pub async fn create(mut call: Call) -> Result<Reply, Status> {
    let mut request = call.read_plain().await?;
    let account = call.current()?;
    admission::posted(&call, &mut request).await?;
    let signer = call.app.authenticator.signer();
    let lookup = call.app.lookup();
    let answer = signer.create_token(&lookup, account.value(), &request, clock::now_unix())?;
    Ok(respond::encoded(&call, StatusCode::CREATED, &answer))
}
