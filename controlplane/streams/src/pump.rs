//! Joining two connections byte for byte: what a proxy of upgraded connections does.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

/// Copies both ways until both sides have ended. Returns the bytes from `a` to `b` and from `b` to `a`.
pub async fn splice<A, B>(mut a: A, mut b: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional(&mut a, &mut b).await
}
