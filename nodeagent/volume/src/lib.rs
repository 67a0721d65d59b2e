//! Files of a pod's volumes: which objects they come from, what they hold, when they must be made anew.
//! Decides in `plan` (pure); `objects` watches, `tokens` asks for service account tokens.

pub mod objects;
pub mod plan;
pub mod tokens;

pub use objects::{Kind, ObjectRef, Objects};
pub use plan::{Contents, Error, Problem, TokenRef, contents, references, token_references};
pub use tokens::{Token, TokenSource};
