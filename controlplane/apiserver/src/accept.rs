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

/// What the answer to a request can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The objects themselves have a protobuf form; their metadata always has.
    pub protobuf: bool,
    /// A watch: YAML has no frames.
    pub stream: bool,
    /// It has metadata, which a table or a PartialObjectMetadata shows; the answer to a review has none.
    pub metadata: bool,
}

impl Offer {
    fn can(self, output: Output) -> bool {
        if output.form != Form::Plain && !self.metadata {
            return false;
        }
        match (output.encoding, output.form) {
            (Encoding::Json, _) => true,
            (Encoding::Yaml, _) => !self.stream,
            (Encoding::Protobuf, Form::Plain) => self.protobuf,
            (Encoding::Protobuf, Form::Metadata(_)) => true,
            (Encoding::Protobuf, Form::Table(_)) => false,
        }
    }
}

/// Picks the first form that is on offer. Protobuf only where nothing else is possible: JSON bytes are ready in the cache.
pub fn negotiate(header: &str, offer: Offer) -> Result<Output, Status> {
    if header.trim().is_empty() {
        return Ok(Output::JSON);
    }
    let outputs: Vec<Output> =
        ranges(header).iter().filter_map(output_of).filter(|output| offer.can(*output)).collect();
    let text = outputs.iter().find(|output| output.encoding != Encoding::Protobuf);
    text.or(outputs.first()).copied().ok_or_else(|| not_acceptable(offer.stream))
}

/// How errors and other answers that need no form are written.
#[must_use]
pub fn encoding(header: &str) -> Encoding {
    let ranges = ranges(header);
    let encodings: Vec<Encoding> = ranges.iter().filter_map(encoding_of).collect();
    let text = encodings.iter().find(|encoding| **encoding != Encoding::Protobuf);
    text.or(encodings.first()).copied().unwrap_or(Encoding::Json)
}

/// The encoding that a media range names, if it is one of ours.
#[must_use]
pub fn encoding_of(range: &Range<'_>) -> Option<Encoding> {
    match range.media {
        "application/json" | "application/*" | "*/*" => Some(Encoding::Json),
        "application/yaml" | "application/x-yaml" => Some(Encoding::Yaml),
        api::protobuf::MEDIA_TYPE => Some(Encoding::Protobuf),
        _ => None,
    }
}

fn output_of(range: &Range<'_>) -> Option<Output> {
    Some(Output { encoding: encoding_of(range)?, form: form_of(range)? })
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
pub fn not_acceptable(stream: bool) -> Status {
    let accepted = if stream {
        "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    };
    let text = format!("only the following media types are accepted: {accepted}");
    Status::new(Reason::NotAcceptable, text)
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
            let offer = Offer { protobuf: true, stream: false, metadata: true };
            let got = negotiate(header, offer).ok().map(|o| (o.encoding, o.form));
            assert_eq!(got, expect, "{header}");
        }
    }

    #[test]
    fn protobuf_is_for_objects_and_metadata() {
        let as_form =
            |form: &str| format!("{};as={form};v=v1;g=meta.k8s.io", api::protobuf::MEDIA_TYPE);
        let plain = api::protobuf::MEDIA_TYPE.to_owned();
        let metadata = (Encoding::Protobuf, Form::Metadata("v1"));
        for (header, protobuf, stream, expect) in [
            (plain.clone(), true, true, Some((Encoding::Protobuf, Form::Plain))),
            (plain.clone(), false, false, None),
            (as_form("PartialObjectMetadataList"), false, true, Some(metadata)),
            (as_form("Table"), true, false, None),
            (
                format!("{},application/json", as_form("Table")),
                true,
                false,
                Some((Encoding::Json, Form::Plain)),
            ),
            ("application/yaml".to_owned(), true, true, None),
        ] {
            let got = negotiate(&header, Offer { protobuf, stream, metadata: true });
            assert_eq!(got.ok().map(|o| (o.encoding, o.form)), expect, "{header}");
        }
        assert_eq!(encoding(&plain), Encoding::Protobuf);
        assert_eq!(encoding(&format!("{plain}, */*")), Encoding::Json);
        assert_eq!(encoding("text/html"), Encoding::Json);
    }
}
