//! The server's tables as text.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{age, tabwriter};
use crate::json::{items_at, labels_text, number_at, pointer_segment, text_at};

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Shown only with `-o wide`.
    pub wide: bool,
}

/// One row and the object (or its metadata) behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub cells: Vec<Value>,
    pub object: Value,
}

/// A `meta.k8s.io/v1` Table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

/// What is added to, or left out of, the server's columns.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of kubectl get")]
pub struct View {
    pub wide: bool,
    pub no_headers: bool,
    pub namespaces: bool,
    pub show_labels: bool,
    pub label_columns: Vec<String>,
    /// Put before names when several types are shown: `pod/`.
    pub kind: Option<String>,
}

impl Table {
    /// From a Table, or from a list or an object of a server that makes no tables.
    #[must_use]
    pub fn from_answer(answer: &Value, now: Timestamp) -> Self {
        if text_at(answer, "/kind") == "Table" {
            return Self::from_table(answer);
        }
        let objects: Vec<_> = match answer.get("items") {
            Some(_) => items_at(answer, "/items").cloned().collect(),
            None => vec![answer.clone()],
        };
        let columns = ["Name", "Age"].map(|name| Column { name: name.to_owned(), wide: false });
        let row = |object: Value| {
            let age = age::since(text_at(&object, "/metadata/creationTimestamp"), now);
            Row { cells: vec![text_at(&object, "/metadata/name").into(), age.into()], object }
        };
        Self { columns: columns.into(), rows: objects.into_iter().map(row).collect() }
    }

    fn from_table(table: &Value) -> Self {
        let column = |column: &Value| Column {
            name: text_at(column, "/name").to_owned(),
            wide: number_at(column, "/priority").unwrap_or(0) != 0,
        };
        let row = |row: &Value| Row {
            cells: items_at(row, "/cells").cloned().collect(),
            object: row.get("object").cloned().unwrap_or(Value::Null),
        };
        Self {
            columns: items_at(table, "/columnDefinitions").map(column).collect(),
            rows: items_at(table, "/rows").map(row).collect(),
        }
    }

    /// Adds the rows of a further page or object of the same kind.
    pub fn extend(&mut self, other: Self) {
        if self.columns.is_empty() {
            self.columns = other.columns;
        }
        self.rows.extend(other.rows);
    }

    /// Lines of cells separated by tabs, the header first.
    #[must_use]
    pub fn lines(&self, view: &View) -> Vec<String> {
        let header = (!view.no_headers).then(|| self.header(view));
        header.into_iter().chain(self.rows.iter().map(|row| self.row(row, view))).collect()
    }

    /// The table as text.
    #[must_use]
    pub fn print(&self, view: &View) -> String {
        tabwriter::align(&self.lines(view).join("\n"), tabwriter::GET)
    }

    fn header(&self, view: &View) -> String {
        let mut cells = Vec::new();
        if view.namespaces {
            cells.push("NAMESPACE".to_owned());
        }
        let shown = self.columns.iter().filter(|column| view.wide || !column.wide);
        cells.extend(shown.map(|column| column.name.to_uppercase()));
        cells.extend(
            view.label_columns
                .iter()
                .map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase()),
        );
        if view.show_labels {
            cells.push("LABELS".to_owned());
        }
        cells.join("\t")
    }

    fn row(&self, row: &Row, view: &View) -> String {
        let mut cells = Vec::new();
        if view.namespaces {
            cells.push(text_at(&row.object, "/metadata/namespace").to_owned());
        }
        for (column, cell) in self.columns.iter().zip(&row.cells) {
            if column.wide && !view.wide {
                continue;
            }
            let text = cell_text(cell);
            let is_name = column.name.eq_ignore_ascii_case("name");
            match view.kind.as_deref().filter(|_| is_name) {
                Some(kind) => cells.push(format!("{kind}/{text}")),
                None => cells.push(text),
            }
        }
        for label in &view.label_columns {
            let pointer = format!("/metadata/labels/{}", pointer_segment(label));
            cells.push(text_at(&row.object, &pointer).to_owned());
        }
        if view.show_labels {
            let labels = labels_text(&row.object, "/metadata/labels");
            cells.push(if labels.is_empty() { "<none>".to_owned() } else { labels });
        }
        cells.join("\t")
    }
}

/// The first line of a cell; control characters would break the terminal.
fn cell_text(cell: &Value) -> String {
    let text = match cell {
        Value::Null => return String::new(),
        Value::String(text) => text.as_str(),
        other => return other.to_string(),
    };
    let first = text.split(['\n', '\r', '\u{c}']).next().unwrap_or("");
    let mut shown: String =
        first.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    if first.len() < text.len() {
        shown.push_str("...");
    }
    shown.replace('\t', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods() -> Table {
        let object = |name: &str, app: &str| json!({"metadata": {"name": name, "namespace": "prod", "labels": {"app": app, "x.io/tier": "web"}}});
        Table::from_answer(
            &json!({
                "kind": "Table",
                "columnDefinitions": [
                    {"name": "Name", "priority": 0}, {"name": "Restarts", "priority": 0}, {"name": "IP", "priority": 1},
                ],
                "rows": [
                    {"cells": ["nginx-1", 0, "10.0.0.1"], "object": object("nginx-1", "nginx")},
                    {"cells": ["redis\nmore", 12, null], "object": object("redis", "redis")},
                ],
            }),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn columns_follow_the_view() {
        assert_eq!(
            pods().print(&View::default()),
            "NAME       RESTARTS\nnginx-1    0\nredis...   12\n"
        );
        let view = View { wide: true, namespaces: true, show_labels: true, ..View::default() };
        assert_eq!(
            pods().lines(&view),
            [
                "NAMESPACE\tNAME\tRESTARTS\tIP\tLABELS",
                "prod\tnginx-1\t0\t10.0.0.1\tapp=nginx,x.io/tier=web",
                "prod\tredis...\t12\t\tapp=redis,x.io/tier=web",
            ]
        );
        let label_columns = vec!["app".to_owned(), "x.io/tier".to_owned()];
        let view =
            View { no_headers: true, kind: Some("pod".into()), label_columns, ..View::default() };
        assert_eq!(pods().lines(&view)[0], "pod/nginx-1\t0\tnginx\tweb");
    }

    #[test]
    fn plain_objects_have_a_name_and_an_age() {
        let list = json!({"items": [{"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"}}]});
        let now = Timestamp::from_second(300).unwrap();
        assert_eq!(
            Table::from_answer(&list, now).print(&View::default()),
            "NAME   AGE\na      5m\n"
        );
    }
}
