//! `get`: lists and objects as the server's tables or in full, once or as they change.

use anyhow::{Result, bail};
use futures::StreamExt;
use serde_json::Value;

use crate::{
    discovery::{Kind, Kinds},
    files::{self, Files},
    json::{items_at, text_at},
    output::{
        self, Form,
        table::{Column, Table, View},
        tabwriter,
    },
    select::{self, Filter, Selection},
    session::{JSON, Session, TABLE, now, with_query},
};

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of kubectl get")]
pub struct Arguments {
    /// TYPE[,TYPE...] [NAME...] or TYPE/NAME...
    pub resources: Vec<String>,
    /// Output format. One of: (json, yaml, name, wide, jsonpath, jsonpath-as-json, jsonpath-file, custom-columns,
    /// custom-columns-file)
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub filter: Filter,
    #[command(flatten)]
    pub files: Files,
    /// After listing/getting the requested object, watch for changes
    #[arg(short, long)]
    pub watch: bool,
    /// Watch for changes to the requested object(s), without listing/getting first
    #[arg(long)]
    pub watch_only: bool,
    /// When using the default or custom-column output format, don't print headers
    #[arg(long)]
    pub no_headers: bool,
    /// When printing, show all labels as the last column
    #[arg(long)]
    pub show_labels: bool,
    /// If present, list the resource type for the requested object(s)
    #[arg(long)]
    pub show_kind: bool,
    /// Accepts a comma separated list of labels that are going to be presented as columns
    #[arg(short = 'L', long, value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// If non-empty, sort list types using this field specification (a JSONPath)
    #[arg(long)]
    pub sort_by: Option<String>,
    /// If the requested object does not exist the command will return exit code 0
    #[arg(long)]
    pub ignore_not_found: bool,
    /// If true, keep the managedFields when printing objects in JSON or YAML format
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Name of the subresource to get
    #[arg(long)]
    pub subresource: Option<String>,
    /// Raw URI to request from the server
    #[arg(long)]
    pub raw: Option<String>,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// Prints what was asked for.
///
/// # Errors
/// What the server answers, after everything else was printed.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    if let Some(path) = &arguments.raw {
        println!("{}", session.get(path).await?);
        return Ok(());
    }
    let form = Form::parse(arguments.output.as_deref())?;
    let kinds = Kinds::discover(session).await?;
    let selections = if arguments.files.filenames.is_empty() {
        select::parse(&kinds, &arguments.resources)?
    } else {
        from_files(session, &kinds, &arguments)?
    };
    if arguments.watch || arguments.watch_only {
        return watch(session, &arguments, &form, &selections).await;
    }
    if form.is_table() {
        print_tables(session, &arguments, &form, &selections).await
    } else {
        print_objects(session, &arguments, &form, &selections).await
    }
}

fn from_files(session: &Session, kinds: &Kinds, arguments: &Arguments) -> Result<Vec<Selection>> {
    let mut selections = Vec::new();
    for manifest in arguments.files.read()? {
        let resolved =
            files::resolve(session, kinds, arguments.globals.namespace.as_deref(), manifest)?;
        selections.push(Selection { kind: resolved.kind, names: vec![resolved.name] });
    }
    Ok(selections)
}

async fn print_objects(
    session: &Session,
    arguments: &Arguments,
    form: &Form,
    selections: &[Selection],
) -> Result<()> {
    let mut items = Vec::new();
    let mut failure = None;
    let single = selections.len() == 1 && selections[0].names.len() == 1;
    for selection in selections {
        for path in paths(session, arguments, selection) {
            let answer = match selection.names.is_empty() {
                true => session.list(&path).await,
                false => session.get(&path).await,
            };
            match answer {
                Ok(list) if list.get("items").is_some() => items.extend(items_of(&list)),
                Ok(object) => items.push(object),
                Err(error) if arguments.ignore_not_found && client::is_not_found(&error) => {}
                // The first failure is told at the end, when the rest is printed.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    if let Some(path) = &arguments.sort_by {
        sort(&mut items, |item| item, path)?;
    }
    let mut whole = match (single, items.len()) {
        (true, 0) => Value::Null,
        (true, _) => items.remove(0),
        _ => output::list_of(items),
    };
    if !arguments.show_managed_fields {
        output::hide_managed_fields(&mut whole);
    }
    if !whole.is_null() {
        print_whole(arguments, form, &whole)?;
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

fn print_whole(arguments: &Arguments, form: &Form, whole: &Value) -> Result<()> {
    let text = match form {
        Form::Columns(spec) => output::columns::print(spec, whole, !arguments.no_headers)?,
        form => output::print_object(form, whole)?,
    };
    print!("{text}");
    Ok(())
}

/// A list's items do not say their kind; the list does.
fn items_of(list: &Value) -> Vec<Value> {
    let api_version = text_at(list, "/apiVersion");
    let kind = text_at(list, "/kind").strip_suffix("List").unwrap_or("");
    items_at(list, "/items")
        .map(|item| {
            let mut item = item.clone();
            if text_at(&item, "/kind").is_empty() && !kind.is_empty() {
                item["kind"] = kind.into();
                item["apiVersion"] = api_version.into();
            }
            item
        })
        .collect()
}

fn paths(session: &Session, arguments: &Arguments, selection: &Selection) -> Vec<String> {
    let Selection { kind, names } = selection;
    if names.is_empty() {
        return vec![arguments.filter.path(session, kind)];
    }
    let suffix = arguments.subresource.as_ref().map_or(String::new(), |name| format!("/{name}"));
    names.iter().map(|name| kind.object(&session.namespace, name) + &suffix).collect()
}

async fn print_tables(
    session: &Session,
    arguments: &Arguments,
    form: &Form,
    selections: &[Selection],
) -> Result<()> {
    check_names(arguments, selections)?;
    let mut failure = None;
    let mut printed = false;
    for selection in selections {
        let mut table = Table::default();
        for path in paths(session, arguments, selection) {
            match read_table(session, arguments, &path, selection.names.is_empty()).await {
                Ok(page) => table.extend(page),
                Err(error) if arguments.ignore_not_found && client::is_not_found(&error) => {}
                Err(error) if client::is_not_found(&error) && failure.is_some() => {
                    eprintln!("{}", crate::error::describe(&error.into(), &session.server));
                }
                Err(error) => failure = failure.or(Some(explain(error, arguments, selection))),
            }
        }
        if let Some(path) = &arguments.sort_by {
            sort(&mut table.rows, |row| &row.object, path)?;
        }
        if table.rows.is_empty() {
            continue;
        }
        if printed {
            println!();
        }
        printed = true;
        print!("{}", table.print(&view_of(arguments, form, selections, &selection.kind)));
    }
    if !printed && failure.is_none() && !arguments.ignore_not_found {
        eprintln!("{}", nothing_found(session, arguments, selections));
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

/// Says which list was refused, as kubectl does.
fn explain(error: kube::Error, arguments: &Arguments, selection: &Selection) -> kube::Error {
    let kube::Error::Api(mut status) = error else { return error };
    if selection.names.is_empty() && matches!(status.code, 400 | 404) {
        let kind = &selection.kind;
        let resource = format!("{}/{}, Resource={}", kind.group, kind.version, kind.plural);
        let labels = arguments.filter.selector.as_deref().unwrap_or("");
        let fields = arguments.filter.field_selector.as_deref().unwrap_or("");
        let message = &status.message;
        status.message = match arguments.filter.is_set() {
            false => format!("Unable to list {resource:?}: {message}"),
            true => format!(
                "Unable to find {resource:?} that match label selector {labels:?}, field selector {fields:?}: {message}"
            ),
        };
    }
    kube::Error::Api(status)
}

fn check_names(arguments: &Arguments, selections: &[Selection]) -> Result<()> {
    let named = selections.iter().any(|selection| !selection.names.is_empty());
    if named && arguments.filter.all_namespaces {
        bail!("a resource cannot be retrieved by name across all namespaces");
    }
    if named && arguments.filter.is_set() {
        bail!("name cannot be provided when a selector is specified");
    }
    Ok(())
}

fn nothing_found(session: &Session, arguments: &Arguments, selections: &[Selection]) -> String {
    let namespaced = selections.iter().any(|selection| selection.kind.namespaced);
    if namespaced && !arguments.filter.all_namespaces {
        format!("No resources found in {} namespace.", session.namespace)
    } else {
        "No resources found".to_owned()
    }
}

fn view_of(arguments: &Arguments, form: &Form, selections: &[Selection], kind: &Kind) -> View {
    let show_kind = arguments.show_kind || selections.len() > 1;
    View {
        wide: *form == Form::Wide,
        no_headers: arguments.no_headers,
        namespaces: arguments.filter.all_namespaces && kind.namespaced,
        show_labels: arguments.show_labels,
        label_columns: arguments.label_columns.clone(),
        kind: show_kind.then(|| kind.qualified()),
    }
}

/// All pages of one path; whole objects where they are sorted by a field.
async fn read_table(
    session: &Session,
    arguments: &Arguments,
    path: &str,
    is_list: bool,
) -> Result<Table, kube::Error> {
    let include = if arguments.sort_by.is_some() { "Object" } else { "" };
    let path = with_query(path, &[("includeObject", include)]);
    if !is_list {
        return Ok(Table::from_answer(&session.get_table(&path).await?, now()));
    }
    let mut table = Table::default();
    let mut next = String::new();
    loop {
        let page = with_query(&path, &[("limit", "500"), ("continue", &next)]);
        let answer = session.get_table(&page).await?;
        text_at(&answer, "/metadata/continue").clone_into(&mut next);
        table.extend(Table::from_answer(&answer, now()));
        if next.is_empty() {
            return Ok(table);
        }
    }
}

/// Sorts by the first result of a JSONPath; what has none comes first.
fn sort<T>(items: &mut [T], object: impl Fn(&T) -> &Value, path: &str) -> Result<()> {
    let path = path.trim_start_matches('{').trim_end_matches('}');
    let path = if path.starts_with('.') { path.to_owned() } else { format!(".{path}") };
    let template = output::jsonpath::Template::parse(&format!("{{{path}}}"))?;
    let key = |item: &T| template.find(object(item)).ok()?.first().map(|value| (*value).clone());
    items.sort_by(|left, right| match (key(left), key(right)) {
        (Some(left), Some(right)) => {
            output::jsonpath::evaluate::compare(&left, &right).unwrap_or(std::cmp::Ordering::Equal)
        }
        (left, right) => left.is_some().cmp(&right.is_some()),
    });
    Ok(())
}

async fn watch(
    session: &Session,
    arguments: &Arguments,
    form: &Form,
    selections: &[Selection],
) -> Result<()> {
    let [selection] = selections else {
        bail!("you may only specify a single resource type when watching");
    };
    let path = match selection.names.as_slice() {
        [] => arguments.filter.path(session, &selection.kind),
        [name] => with_query(
            &selection.kind.collection(Some(&session.namespace)),
            &[("fieldSelector", &format!("metadata.name={name}"))],
        ),
        _ => bail!("you may only specify a single resource when watching"),
    };
    let accept = if form.is_table() { TABLE } else { JSON };
    let first = match form.is_table() {
        true => session.get_table(&path).await?,
        false => session.get(&path).await?,
    };
    let mut printer = WatchPrinter {
        form,
        arguments,
        view: view_of(arguments, form, selections, &selection.kind),
        widths: Vec::new(),
        columns: Vec::new(),
    };
    if !arguments.watch_only {
        printer.print_first(&first)?;
    }
    let version = text_at(&first, "/metadata/resourceVersion");
    let mut events = session
        .watch(&with_query(&path, &[("watch", "true"), ("resourceVersion", version)]), accept)
        .await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if text_at(&event, "/type") != "BOOKMARK" {
            printer.print_event(&event["object"])?;
        }
    }
    Ok(())
}

/// Prints rows as they come, in columns that only grow.
struct WatchPrinter<'a> {
    form: &'a Form,
    arguments: &'a Arguments,
    view: View,
    widths: Vec<usize>,
    /// Of the first table: later events carry rows only.
    columns: Vec<Column>,
}

impl WatchPrinter<'_> {
    fn print_first(&mut self, answer: &Value) -> Result<()> {
        if self.form.is_table() {
            self.print_table(Table::from_answer(answer, now()));
            return Ok(());
        }
        items_of(answer).iter().try_for_each(|object| self.print_event(object))
    }

    fn print_event(&mut self, object: &Value) -> Result<()> {
        if self.form.is_table() {
            self.print_table(Table::from_answer(object, now()));
            return Ok(());
        }
        let mut object = object.clone();
        if !self.arguments.show_managed_fields {
            output::hide_managed_fields(&mut object);
        }
        if *self.form == Form::Yaml {
            println!("---");
        }
        print!("{}", output::print_object(self.form, &object)?);
        if matches!(self.form, Form::JsonPath(_)) {
            println!();
        }
        Ok(())
    }

    fn print_table(&mut self, mut table: Table) {
        if table.columns.is_empty() {
            table.columns.clone_from(&self.columns);
        } else {
            self.columns.clone_from(&table.columns);
        }
        if !table.rows.is_empty() {
            print!("{}", grow(&mut self.widths, &table.lines(&self.view)));
            self.view.no_headers = true;
        }
    }
}

/// Aligns lines to the widths so far, which grow with them.
fn grow(widths: &mut Vec<usize>, lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    for row in &rows {
        for (index, cell) in row.iter().enumerate() {
            if widths.len() <= index {
                widths.push(tabwriter::GET.min);
            }
            widths[index] = widths[index].max(cell.chars().count() + tabwriter::GET.padding);
        }
    }
    let mut out = String::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            let padding =
                if index + 1 == row.len() { 0 } else { widths[index] - cell.chars().count() };
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', padding));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn watched_columns_only_grow() {
        let mut widths = Vec::new();
        let lines =
            |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(grow(&mut widths, &lines(&["NAME\tAGE", "a\t1s"])), "NAME   AGE\na      1s\n");
        assert_eq!(grow(&mut widths, &lines(&["longer-name\t2s"])), "longer-name   2s\n");
        assert_eq!(grow(&mut widths, &lines(&["a\t3s"])), "a             3s\n");
    }

    #[test]
    fn objects_sort_by_a_field() {
        let mut items = vec![json!({"n": 3}), json!({"n": 1}), json!({}), json!({"n": 2})];
        sort(&mut items, |item| item, ".n").unwrap();
        assert_eq!(items, [json!({}), json!({"n": 1}), json!({"n": 2}), json!({"n": 3})]);
        sort(&mut items, |item| item, "{.n}").unwrap();
    }

    #[test]
    fn listed_items_say_their_kind() {
        let list =
            json!({"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}]});
        let item = &items_of(&list)[0];
        assert_eq!((&item["kind"], &item["apiVersion"]), (&json!("Pod"), &json!("v1")));
    }
}
