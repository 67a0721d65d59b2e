//! Content negotiation: which form the client wants its answer in. Pure.

use api::{Reason, Status};

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What the object is turned into before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The object as it is.
    Plain,
    /// `meta.k8s.io` Table of this version.
    Table(&'static str),
    /// PartialObjectMetadata(List) of this version.
    Metadata(&'static str),
}

/// The negotiated answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub encoding: Encoding,
    pub form: Form,
}

impl Output {
    pub const JSON: Self = Self { encoding: Encoding::Json, form: Form::Plain };
}

/// One media range of an Accept header.
#[derive(Debug, Clone, PartialEq)]
pub struct Range<'a> {
    pub media: &'a str,
    pub params: Vec<(&'a str, &'a str)>,
    pub quality: f32,
}

impl<'a> Range<'a> {
    #[must_use]
    pub fn param(&self, key: &str) -> &'a str {
        self.params.iter().find(|(k, _)| *k == key).map_or("", |(_, v)| v)
    }
}

/// Media ranges by falling quality; the header's order decides among equals.
#[must_use]
pub fn ranges(header: &str) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = header.split(',').filter_map(parse_range).collect();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    ranges
}

fn parse_range(text: &str) -> Option<Range<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().filter(|media| !media.is_empty())?;
    let params: Vec<(&str, &str)> =
        parts.filter_map(|part| part.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
    let quality =
        params.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
    Some(Range { media, params, quality })
}

/// Picks the first form that this server can produce. `protobuf` says whether the kind can be encoded so.
pub fn negotiate(header: &str, protobuf: bool) -> Result<Output, Status> {
    if header.trim().is_empty() {
        return Ok(Output::JSON);
    }
    ranges(header).iter().find_map(|range| output_of(range, protobuf)).ok_or_else(not_acceptable)
}

fn output_of(range: &Range<'_>, protobuf: bool) -> Option<Output> {
    let encoding = match range.media {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" | "application/x-yaml" => Encoding::Yaml,
        api::protobuf::MEDIA_TYPE if protobuf => Encoding::Protobuf,
        _ => return None,
    };
    let form = form_of(range)?;
    // Tables and metadata-only objects have no protobuf form here.
    if encoding == Encoding::Protobuf && form != Form::Plain {
        return None;
    }
    Some(Output { encoding, form })
}

fn form_of(range: &Range<'_>) -> Option<Form> {
    let version = match range.param("v") {
        "v1" | "" => "v1",
        "v1beta1" => "v1beta1",
        _ => return None,
    };
    match (range.param("as"), range.param("g")) {
        ("", _) => Some(Form::Plain),
        ("Table", "meta.k8s.io") => Some(Form::Table(version)),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io") => {
            Some(Form::Metadata(version))
        }
        _ => None,
    }
}

/// 406 as upstream words it.
#[must_use]
pub fn not_acceptable() -> Status {
    Status::new(
        Reason::NotAcceptable,
        "only the following media types are accepted: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_possible_form_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        for (header, expect) in [
            ("", Some((Encoding::Json, Form::Plain))),
            ("*/*", Some((Encoding::Json, Form::Plain))),
            (table, Some((Encoding::Json, Form::Table("v1")))),
            ("application/yaml", Some((Encoding::Yaml, Form::Plain))),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some((Encoding::Json, Form::Plain)),
            ),
            ("application/json;q=0.5, application/yaml", Some((Encoding::Yaml, Form::Plain))),
            (
                "application/json;as=Foo;g=x;v=v1,application/json",
                Some((Encoding::Json, Form::Plain)),
            ),
            ("application/json;as=Foo;g=x;v=v1", None),
            ("text/html", None),
        ] {
            let got = negotiate(header, false).ok().map(|o| (o.encoding, o.form));
            assert_eq!(got, expect, "{header}");
        }
    }
}
