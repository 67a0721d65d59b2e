//! A list's JSON as a body: the objects' bytes are copied piece by piece while the client takes them, so that a list of
//! any size holds one piece in memory beside the cache.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec::IntoIter,
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::Item;

/// Copied at once: a few TLS records, small enough to stay in the processor's cache.
const PIECE_BYTES: usize = 64 << 10;
const TAIL: &[u8] = b"]}\n";

/// `{"kind":...,"items":[` and what follows it.
#[derive(Debug)]
pub struct ListBody {
    head: Bytes,
    items: IntoIter<Arc<Item>>,
    /// The next object is not the first one.
    comma: bool,
    /// Bytes that are still to come.
    left: u64,
}

impl ListBody {
    /// `head` ends with the bracket that opens the items.
    #[must_use]
    pub fn new(head: Bytes, items: Vec<Arc<Item>>) -> Self {
        let objects: usize = items.iter().map(|item| item.json.len() + 1).sum();
        // One comma fewer than objects.
        let left = head.len() + objects - usize::from(!items.is_empty()) + TAIL.len();
        Self { head, items: items.into_iter(), comma: false, left: left as u64 }
    }

    /// All of it, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.left
    }

    /// The next piece; `None` at the end.
    pub fn piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let room = usize::try_from(self.left).map_or(PIECE_BYTES, |left| left.min(2 * PIECE_BYTES));
        let mut piece = BytesMut::with_capacity(room);
        piece.put_slice(&std::mem::take(&mut self.head));
        while piece.len() < PIECE_BYTES {
            let Some(item) = self.items.next() else {
                piece.put_slice(TAIL);
                break;
            };
            if std::mem::replace(&mut self.comma, true) {
                piece.put_u8(b',');
            }
            piece.put_slice(&item.json);
        }
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece.freeze())
    }
}

impl Body for ListBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pieces_make_the_whole_list_of_the_announced_size() {
        for (count, text) in [(0, 1), (1, 10), (3, 10), (500, 1000), (4, 100_000)] {
            let items: Vec<Arc<Item>> = (0..count)
                .map(|index| {
                    let object = json!({"metadata": {"name": index}, "data": "x".repeat(text)});
                    Arc::new(Item::new(
                        format!("a/{index}").into(),
                        &super::super::encode(&object),
                        7,
                    ))
                })
                .collect();
            let mut body = ListBody::new(Bytes::from_static(b"{\"items\":["), items);
            let announced = body.len();
            let mut all = Vec::new();
            while let Some(piece) = body.piece() {
                assert!(piece.len() <= PIECE_BYTES + text + 200);
                all.extend_from_slice(&piece);
            }
            assert_eq!((all.len() as u64, body.len()), (announced, 0), "{count} {text}");
            let list: Value = serde_json::from_slice(&all).unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), count);
        }
    }
}
