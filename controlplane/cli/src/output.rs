//! How answers are printed: which form was asked for, and the pure functions that make each.

pub mod age;
pub mod columns;
pub mod jsonpath;
pub mod table;
pub mod tabwriter;
pub mod yaml;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::{discovery::Kind, json::text_at};

/// The form asked for by `-o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    Table,
    Wide,
    Yaml,
    Json,
    Name,
    JsonPath(String),
    /// The template's JSON instead of its text when a value is not a scalar.
    JsonPathAsJson(String),
    Columns(String),
}

impl Form {
    /// Parses `-o`'s argument.
    ///
    /// # Errors
    /// With kubectl's words when the form is unknown.
    pub fn parse(asked: Option<&str>) -> Result<Self> {
        let Some(asked) = asked else { return Ok(Self::Table) };
        let (form, argument) = asked.split_once('=').unwrap_or((asked, ""));
        let need = |what: &str| match argument {
            "" => bail!("template format specified but no {what} given"),
            argument => Ok(argument.to_owned()),
        };
        Ok(match form {
            "" => Self::Table,
            "wide" => Self::Wide,
            "yaml" => Self::Yaml,
            "json" => Self::Json,
            "name" => Self::Name,
            "jsonpath" => Self::JsonPath(need("template")?),
            "jsonpath-as-json" => Self::JsonPathAsJson(need("template")?),
            "jsonpath-file" => Self::JsonPath(std::fs::read_to_string(need("template file")?)?),
            "custom-columns" => Self::Columns(need("custom columns")?),
            "custom-columns-file" => {
                Self::Columns(columns::from_file(&std::fs::read_to_string(need("file")?)?)?)
            }
            _ => bail!(
                "unable to match a printer suitable for the output format \"{asked}\", allowed formats \
                 are: custom-columns,custom-columns-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,wide,yaml"
            ),
        })
    }

    /// Whether the server's table is wanted instead of the objects.
    #[must_use]
    pub fn is_table(&self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Prints an object, or a `List` of them, in a form that is not a table.
///
/// # Errors
/// When a template is broken or does not fit.
pub fn print_object(form: &Form, object: &Value) -> Result<String> {
    Ok(match form {
        Form::Yaml => yaml::to_yaml(object),
        Form::Json => to_json(object),
        Form::JsonPath(template) => jsonpath::Template::parse(template)?.render(object)?,
        Form::JsonPathAsJson(template) => {
            jsonpath::Template::parse(template)?.render_json(object)?
        }
        Form::Columns(spec) => columns::print(spec, object, true)?,
        Form::Name => {
            let items = object.get("items").and_then(Value::as_array);
            let names = items
                .map_or_else(|| vec![name_of(object)], |items| items.iter().map(name_of).collect());
            names.iter().map(|name| format!("{name}\n")).collect()
        }
        Form::Table | Form::Wide => bail!("a table needs the server's columns"),
    })
}

/// Four spaces and sorted keys, as kubectl prints JSON.
#[must_use]
pub fn to_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(&yaml::sorted(value), &mut serializer)
        .expect("a JSON value writes to memory");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("serde_json writes UTF-8")
}

/// `pod/x`, `deployment.apps/x`: from the object alone.
#[must_use]
pub fn name_of(object: &Value) -> String {
    let kind = text_at(object, "/kind").to_lowercase();
    let group = text_at(object, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
    let name = text_at(object, "/metadata/name");
    if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
}

/// `pod/x`, `deployment.apps/x`: with the kind's own singular name.
#[must_use]
pub fn kind_and_name(kind: &Kind, name: &str) -> String {
    format!("{}/{name}", kind.qualified())
}

/// Several objects as one `v1` List, as kubectl prints them.
#[must_use]
pub fn list_of(items: Vec<Value>) -> Value {
    json!({
        "apiVersion": "v1",
        "items": items,
        "kind": "List",
        "metadata": { "resourceVersion": "" },
    })
}

/// Takes out what nobody wants to read.
pub fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        hide_managed_fields(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_parsed() {
        assert_eq!(Form::parse(None).unwrap(), Form::Table);
        assert_eq!(Form::parse(Some("wide")).unwrap(), Form::Wide);
        assert_eq!(Form::parse(Some("jsonpath={.a=b}")).unwrap(), Form::JsonPath("{.a=b}".into()));
        assert!(
            Form::parse(Some("xml"))
                .unwrap_err()
                .to_string()
                .starts_with("unable to match a printer suitable for the output format \"xml\"")
        );
        assert!(Form::parse(Some("jsonpath=")).is_err());
    }

    #[test]
    fn json_and_names_look_like_kubectls() {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}});
        let text = "{\n    \"apiVersion\": \"v1\",\n    \"kind\": \"Pod\",\n    \"metadata\": {\n        \"name\": \"a\"\n    }\n}\n";
        assert_eq!(print_object(&Form::Json, &pod).unwrap(), text);
        assert_eq!(print_object(&Form::Name, &pod).unwrap(), "pod/a\n");
        let deployment =
            json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "b"}});
        let list = list_of(vec![pod, deployment]);
        assert_eq!(print_object(&Form::Name, &list).unwrap(), "pod/a\ndeployment.apps/b\n");
    }

    #[test]
    fn managed_fields_are_hidden_in_lists_too() {
        let mut list = list_of(vec![json!({"metadata": {"name": "a", "managedFields": []}})]);
        hide_managed_fields(&mut list);
        assert_eq!(list["items"][0], json!({"metadata": {"name": "a"}}));
    }
}
