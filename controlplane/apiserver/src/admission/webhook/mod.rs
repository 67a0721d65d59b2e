//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration: `hook` finds who is to be called, `review` is the
//! question and the answer, `call` asks, `mutating` and `validating` are the two ways of going through them.

mod call;
mod hook;
pub mod mutating;
mod review;
pub mod validating;
