//! Messages to JSON trees. Unknown field numbers are skipped, zero values left out as Go's JSON encoder does.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::wire::{Malformed, Reader, Wire};
use crate::schema::{self, Field, Message, Shape, Type};
use crate::time;

/// Messages in messages; bounds the stack against hostile input.
const DEPTH_MAX: usize = 64;

pub(super) fn message(message: &Message, bytes: &[u8]) -> Result<Map<String, Value>, Malformed> {
    let mut map = Map::new();
    read_message(message, bytes, &mut map, DEPTH_MAX)?;
    Ok(map)
}

fn read_message(
    message: &Message,
    bytes: &[u8],
    map: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Ok(at) = message.fields.binary_search_by_key(&number, |field| field.number) else {
            continue;
        };
        let field = &message.fields[at];
        match (field.is_inline, field.shape, field.message()) {
            (true, _, Some(inner)) => read_message(inner, wire.bytes()?, map, depth)?,
            (_, Shape::One, _) => read_single(field, wire, map, depth)?,
            (_, Shape::List, _) => {
                let value = read_one(field, wire, depth)?.unwrap_or(Value::Null);
                let list = map.entry(field.name).or_insert_with(|| json!([]));
                list.as_array_mut().ok_or(Malformed::Mismatch)?.push(value);
            }
            (_, Shape::Map, _) => {
                let (key, value) = read_entry(field, wire.bytes()?, depth)?;
                let entries = map.entry(field.name).or_insert_with(|| json!({}));
                entries.as_object_mut().ok_or(Malformed::Mismatch)?.insert(key, value);
            }
        }
    }
    Ok(())
}

fn read_single(
    field: &Field,
    wire: Wire<'_>,
    map: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Malformed> {
    let Some(value) = read_one(field, wire, depth)? else { return Ok(()) };
    let empty = match &value {
        Value::String(text) => text.is_empty() && field.kind != Type::IntOrString,
        Value::Bool(flag) => !flag,
        Value::Number(number) => {
            number.as_i64() == Some(0)
                && field.kind != Type::IntOrString
                && field.kind != Type::Json
        }
        Value::Object(inner) => field.omit_zero && inner.is_empty(),
        _ => false,
    };
    if !empty || field.is_pointer || !(field.omit_empty || field.omit_zero) {
        map.insert(field.name.to_owned(), value);
    }
    Ok(())
}

fn read_entry(field: &Field, bytes: &[u8], depth: usize) -> Result<(String, Value), Malformed> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => key = wire.text()?.to_owned(),
            2 => value = read_one(field, wire, depth)?,
            _ => {}
        }
    }
    let zero = match field.kind {
        Type::Text | Type::Bytes => json!(""),
        Type::Time | Type::MicroTime => Value::Null,
        _ => json!({}),
    };
    Ok((key, value.unwrap_or(zero)))
}

/// One value; `None` where JSON has nothing (a zero time, an empty raw extension).
fn read_one(field: &Field, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, Malformed> {
    Ok(Some(match field.kind {
        Type::Text => json!(wire.text()?),
        Type::Bool => json!(wire.integer()? != 0),
        // Upstream keeps the low 32 bits.
        Type::Int32 => json!(wire.integer()? as i32),
        Type::Int64 => json!(wire.integer()?),
        Type::Double => json!(wire.double()?),
        Type::Bytes => json!(base64::engine::general_purpose::STANDARD.encode(wire.bytes()?)),
        Type::Message(_) => {
            let mut inner = Map::new();
            let message = field.message().expect("is a message");
            read_message(message, wire.bytes()?, &mut inner, depth)?;
            Value::Object(inner)
        }
        Type::TextList => {
            let mut items = Vec::new();
            let mut reader = Reader::new(wire.bytes()?);
            while let Some((_, item)) = reader.next()? {
                items.push(json!(item.text()?));
            }
            Value::Array(items)
        }
        kind => return special(kind, wire.bytes()?, depth),
    }))
}

fn special(kind: Type, bytes: &[u8], depth: usize) -> Result<Option<Value>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
    match kind {
        Type::Time | Type::MicroTime => read_time(kind, bytes),
        Type::Quantity => {
            let text = last(bytes, 1)?.map_or(Ok("0"), Wire::text)?;
            Ok(Some(json!(text)))
        }
        Type::Duration => {
            let nanos = last(bytes, 1)?.map_or(Ok(0), Wire::integer)?;
            Ok(Some(json!(time::format_go_duration(nanos))))
        }
        Type::IntOrString => {
            let is_text = last(bytes, 1)?.map_or(Ok(0), Wire::integer)? == 1;
            Ok(Some(if is_text {
                json!(last(bytes, 3)?.map_or(Ok(""), Wire::text)?)
            } else {
                json!(last(bytes, 2)?.map_or(Ok(0), Wire::integer)? as i32)
            }))
        }
        Type::RawExtension | Type::FieldsV1 | Type::Json => read_raw(bytes),
        _ => read_schema(kind, bytes, depth),
    }
}

fn read_time(kind: Type, bytes: &[u8]) -> Result<Option<Value>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let seconds = last(bytes, 1)?.map_or(Ok(0), Wire::integer)?;
    let nanos = last(bytes, 2)?.map_or(Ok(0), Wire::integer)?;
    // Beyond the years that RFC 3339 can write there is no time.
    const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
    if !SECONDS.contains(&seconds) {
        return Err(Malformed::Overflow);
    }
    let instant = time::Instant { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
    Ok(Some(json!(if kind == Type::Time {
        time::format_seconds(instant)
    } else {
        time::format_micros(instant)
    })))
}

/// Embedded objects are JSON, or an envelope of their own.
fn read_raw(bytes: &[u8]) -> Result<Option<Value>, Malformed> {
    let raw = last(bytes, 1)?.map_or(Ok(&[][..]), Wire::bytes)?;
    if raw.is_empty() {
        return Ok(None);
    }
    if raw.starts_with(super::MAGIC) {
        let (api_version, kind, inner) = super::open_envelope(raw)?;
        if let Some(found) = schema::message_of(&api_version, &kind) {
            let mut map = message(found, inner)?;
            map.insert("apiVersion".to_owned(), json!(api_version));
            map.insert("kind".to_owned(), json!(kind));
            return Ok(Some(Value::Object(map)));
        }
    }
    serde_json::from_slice(raw).map(Some).map_err(|error| Malformed::Json(error.to_string()))
}

/// The `JSONSchemaPropsOr...` types: a schema (field 1, or 2 beside a bool) or the other form.
fn read_schema(kind: Type, bytes: &[u8], depth: usize) -> Result<Option<Value>, Malformed> {
    let props = |wire: Wire<'_>| -> Result<Value, Malformed> {
        let mut map = Map::new();
        read_message(schema::schema_props(), wire.bytes()?, &mut map, depth)?;
        Ok(Value::Object(map))
    };
    if kind == Type::SchemaOrBool {
        return match last(bytes, 2)? {
            Some(schema) => props(schema).map(Some),
            None => Ok(Some(json!(last(bytes, 1)?.map_or(Ok(0), Wire::integer)? != 0))),
        };
    }
    if let Some(schema) = last(bytes, 1)? {
        return props(schema).map(Some);
    }
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        if number == 2 {
            items.push(if kind == Type::SchemaOrArray {
                props(wire)?
            } else {
                json!(wire.text()?)
            });
        }
    }
    Ok(Some(Value::Array(items)))
}

/// The last value of a field, as protobuf has it for repeated singular fields.
fn last(bytes: &[u8], wanted: u32) -> Result<Option<Wire<'_>>, Malformed> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        if number == wanted {
            found = Some(wire);
        }
    }
    Ok(found)
}
