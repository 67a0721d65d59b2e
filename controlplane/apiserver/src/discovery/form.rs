//! Which form of a discovery document a client wants. Pure.

use api::Status;

use crate::accept::{self, Encoding, Range};

const AGGREGATED: &str = "APIGroupDiscoveryList";
const GROUP: &str = "apidiscovery.k8s.io";

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub encoding: Encoding,
    /// Everything in one document, in this version of it; `None` is the legacy form.
    pub aggregated: Option<&'static str>,
}

impl Form {
    /// The client's first choice that is possible, text before protobuf as for objects; 406 without any. Only `/api` and `/apis`
    /// (`is_root`) have an aggregated form.
    pub fn negotiate(header: &str, is_root: bool) -> Result<Self, Status> {
        if header.trim().is_empty() {
            return Ok(Self { encoding: Encoding::Json, aggregated: None });
        }
        let ranges = accept::ranges(header);
        let forms = ranges.iter().filter_map(Self::of);
        let forms: Vec<Self> = forms.filter(|it| is_root || it.aggregated.is_none()).collect();
        let text = forms.iter().find(|form| form.encoding != Encoding::Protobuf);
        text.or(forms.first()).copied().ok_or_else(|| accept::not_acceptable(false))
    }

    fn of(range: &Range<'_>) -> Option<Self> {
        let aggregated = match (range.param("as"), range.param("g"), range.param("v")) {
            ("", ..) => None,
            (AGGREGATED, GROUP, "v2") => Some("v2"),
            (AGGREGATED, GROUP, "v2beta1") => Some("v2beta1"),
            _ => return None,
        };
        Some(Self { encoding: accept::encoding_of(range)?, aggregated })
    }

    /// The media type of a document that was written as `media`.
    #[must_use]
    pub fn media(self, media: &str) -> String {
        match self.aggregated {
            None => media.to_owned(),
            Some(version) => format!("{media};g={GROUP};v={version};as={AGGREGATED}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_choice_decides_the_form() {
        let v2 = |media: &str| format!("{media};g={GROUP};v=v2;as={AGGREGATED}");
        let protobuf = api::protobuf::MEDIA_TYPE;
        let form = |encoding, aggregated| Some(Form { encoding, aggregated });
        use Encoding::{Json, Protobuf, Yaml};
        for (header, is_root, expect) in [
            (format!("{},application/json", v2("application/json")), true, form(Json, Some("v2"))),
            ("application/json".to_owned(), true, form(Json, None)),
            (format!("application/json,{}", v2("application/json")), true, form(Json, None)),
            (v2("application/json").replace("v2", "v2beta1"), true, form(Json, Some("v2beta1"))),
            (String::new(), true, form(Json, None)),
            ("*/*".to_owned(), true, form(Json, None)),
            (v2(protobuf), true, form(Protobuf, Some("v2"))),
            (protobuf.to_owned(), false, form(Protobuf, None)),
            (format!("{protobuf},application/json"), false, form(Json, None)),
            ("application/yaml".to_owned(), false, form(Yaml, None)),
            (format!("{},application/json", v2("application/json")), false, form(Json, None)),
            (v2("application/json"), false, None),
            ("text/html".to_owned(), true, None),
        ] {
            assert_eq!(Form::negotiate(&header, is_root).ok(), expect, "{header}");
        }
    }
}
