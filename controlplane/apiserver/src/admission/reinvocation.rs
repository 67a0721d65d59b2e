//! Who is asked a second time: those with `reinvocationPolicy: IfNeeded` after whom something changed. Pure.
//! Upstream: `admission/plugin/webhook/mutating/reinvocationcontext.go`.

use std::collections::BTreeSet;

use serde_json::Value;

/// The passes of one request through policies and webhooks that change.
#[derive(Debug, Default)]
pub struct Session {
    second: bool,
    /// Asked since the last change, and willing to be asked again.
    willing: BTreeSet<String>,
    /// To be asked in the second pass.
    again: BTreeSet<String>,
    changed: bool,
    left: Option<Value>,
}

impl Session {
    /// Whether one is to be asked in this pass.
    #[must_use]
    pub fn is_due(&self, id: &str) -> bool {
        !self.second || self.again.contains(id)
    }

    /// Notes that one was asked, whether it changed the object, and whether it may be asked again.
    pub fn invoked(&mut self, id: String, changed: bool, reinvoked: bool) {
        if changed {
            self.changed = true;
            self.again.append(&mut self.willing);
        }
        if reinvoked {
            self.willing.insert(id);
        }
    }

    /// Ends the first pass with this object; whether the built-in plugins are to see it again.
    pub fn end_first(&mut self, object: &Value) -> bool {
        if self.changed {
            self.left = Some(object.clone());
        }
        self.changed
    }

    /// Begins the second pass, after the built-in plugins.
    pub fn begin_second(&mut self, object: &Value) {
        if self.left.take().is_some_and(|left| left != *object) {
            self.again.append(&mut self.willing);
        }
        self.second = true;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_those_before_a_change_are_asked_again() {
        let mut session = Session::default();
        for (id, changed, reinvoked) in
            [("a", true, true), ("b", false, false), ("c", true, true), ("d", false, true)]
        {
            assert!(session.is_due(id));
            session.invoked(id.into(), changed, reinvoked);
        }
        assert!(session.end_first(&json!(1)));
        session.begin_second(&json!(1));
        let due: Vec<&str> =
            ["a", "b", "c", "d"].into_iter().filter(|id| session.is_due(id)).collect();
        assert_eq!(due, ["a"]);
    }

    #[test]
    fn a_change_by_a_built_in_plugin_counts_for_all() {
        let mut session = Session::default();
        session.invoked("a".into(), true, true);
        assert!(session.end_first(&json!(1)));
        session.begin_second(&json!(2));
        assert!(session.is_due("a"));
        let mut quiet = Session::default();
        quiet.invoked("a".into(), false, true);
        assert!(!quiet.end_first(&json!(1)));
    }
}
