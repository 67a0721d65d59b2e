//! Evaluation: a walk over the checked tree, charged as it goes.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    budget::Meter,
    node::{Fold, FoldKind, Node, Select},
    program::EvalError,
    value::{Key, Map, Value},
    variables::Variables,
};

pub(crate) type Outcome = Result<Value, EvalError>;

const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const OBJECT_COST: u64 = 40;
/// Composed variables name earlier ones only, but a caller could wire a circle.
const COMPOSED_DEPTH_MAX: usize = 64;

pub(crate) struct Evaluation<'v> {
    variables: &'v Variables,
    pub(crate) meter: Meter,
    locals: Vec<Value>,
    composing: usize,
}

impl<'v> Evaluation<'v> {
    pub(crate) fn new(variables: &'v Variables, meter: Meter) -> Self {
        Self { variables, meter, locals: Vec::new(), composing: 0 }
    }

    pub(crate) fn run(&mut self, node: &Node) -> Outcome {
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Variable(name) => self.variable(name),
            Node::Local(place) => {
                self.meter.charge(1)?;
                Ok(self.locals[*place].clone())
            }
            Node::Composed(name) => self.composed(name),
            Node::Select { operand, field, mode } => {
                self.meter.charge(1)?;
                let operand = self.run(operand)?;
                select(&operand, field, *mode)
            }
            Node::Call { function, arguments } => {
                let arguments =
                    arguments.iter().map(|node| self.run(node)).collect::<Result<Vec<_>, _>>()?;
                self.meter.charge(function.cost(&arguments))?;
                (function.call)(&arguments)
            }
            Node::And(parts) => self.junction(parts, false),
            Node::Or(parts) => self.junction(parts, true),
            Node::Conditional(parts) => match self.run(&parts[0])? {
                Value::Bool(true) => self.run(&parts[1]),
                Value::Bool(false) => self.run(&parts[2]),
                _ => Err(EvalError::no_overload()),
            },
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Object { name, fields } => self.object(name, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(parts) => {
                let value = self.run(&parts[0])?;
                self.with_locals([value], |this| this.run(&parts[1]))
            }
            Node::OptionalMap { parts, flat } => self.optional_map(parts, *flat),
            Node::OptionalOr { parts, value } => match self.run(&parts[0])? {
                Value::Optional(Some(inner)) if *value => Ok((*inner).clone()),
                Value::Optional(None) => self.run(&parts[1]),
                present @ Value::Optional(_) => Ok(present),
                _ => Err(EvalError::no_overload()),
            },
        }
    }

    fn variable(&mut self, name: &str) -> Outcome {
        self.meter.charge(1)?;
        let known = self.variables.values.get(name);
        known.cloned().ok_or_else(|| EvalError::failed(format!("no such attribute(s): {name}")))
    }

    fn composed(&mut self, name: &str) -> Outcome {
        self.meter.charge(1)?;
        if let Some(known) = self.variables.known.borrow().get(name) {
            return known.clone();
        }
        let Some(program) = self.variables.composed.get(name).cloned() else {
            return Err(EvalError::failed(format!("no such key: {name}")));
        };
        if self.composing >= COMPOSED_DEPTH_MAX {
            return Err(EvalError::failed(format!("variable {name} refers to itself")));
        }
        self.composing += 1;
        let locals = std::mem::take(&mut self.locals);
        let result = self.run(&program.node);
        self.locals = locals;
        self.composing -= 1;
        let result = result.map_err(|error| match error {
            EvalError::Failed(message) => EvalError::Failed(format!(
                "composited variable \"{name}\" fails to evaluate: {message}"
            )),
            limit => limit,
        });
        self.variables.known.borrow_mut().insert(name.to_owned(), result.clone());
        result
    }

    /// `&&` and `||`: one side decides even if the other fails.
    fn junction(&mut self, parts: &[Node; 2], deciding: bool) -> Outcome {
        let left = self.run(&parts[0]);
        match left {
            Ok(Value::Bool(value)) if value == deciding => return Ok(Value::Bool(value)),
            Err(limit @ (EvalError::ExpressionLimit | EvalError::RequestLimit)) => {
                return Err(limit);
            }
            _ => {}
        }
        let right = self.run(&parts[1]);
        match (left, right) {
            (_, Err(limit @ (EvalError::ExpressionLimit | EvalError::RequestLimit))) => Err(limit),
            (_, Ok(Value::Bool(value))) if value == deciding => Ok(Value::Bool(value)),
            (Ok(Value::Bool(_)), Ok(Value::Bool(value))) => Ok(Value::Bool(value)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Err(EvalError::no_overload()),
        }
    }

    fn list(&mut self, items: &[(Node, bool)]) -> Outcome {
        self.meter.charge(LIST_COST)?;
        let mut values = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.run(item)?, optional) {
                (value, false) => values.push(value),
                (Value::Optional(Some(inner)), true) => values.push((*inner).clone()),
                (Value::Optional(None), true) => {}
                _ => return Err(EvalError::no_overload()),
            }
        }
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &[(Node, Node, bool)]) -> Outcome {
        self.meter.charge(MAP_COST)?;
        let mut made = BTreeMap::new();
        for (key, value, optional) in entries {
            let key =
                self.run(key)?.key().ok_or_else(|| EvalError::failed("unsupported key type"))?;
            let value = self.run(value)?;
            insert(&mut made, key, value, *optional)?;
        }
        Ok(Value::Map(Arc::new(Map { entries: made, object: None })))
    }

    fn object(&mut self, name: &Arc<str>, fields: &[(String, Node, bool)]) -> Outcome {
        self.meter.charge(OBJECT_COST)?;
        let mut made = BTreeMap::new();
        for (field, value, optional) in fields {
            let value = self.run(value)?;
            insert(&mut made, Key::Text(Arc::from(field.as_str())), value, *optional)?;
        }
        Ok(Value::Map(Arc::new(Map { entries: made, object: Some(name.clone()) })))
    }

    fn optional_map(&mut self, parts: &[Node; 2], flat: bool) -> Outcome {
        let Value::Optional(target) = self.run(&parts[0])? else {
            return Err(EvalError::no_overload());
        };
        let Some(inner) = target else { return Ok(Value::Optional(None)) };
        let result = self.with_locals([(*inner).clone()], |this| this.run(&parts[1]))?;
        Ok(if flat { result } else { Value::some(result) })
    }

    fn with_locals<const N: usize>(
        &mut self,
        names: [Value; N],
        then: impl FnOnce(&mut Self) -> Outcome,
    ) -> Outcome {
        let height = self.locals.len();
        self.locals.extend(names);
        let result = then(self);
        self.locals.truncate(height);
        result
    }

    fn fold(&mut self, fold: &Fold) -> Outcome {
        let range = self.run(&fold.range)?;
        let pairs: Vec<(Value, Value)> = match &range {
            Value::List(list) => {
                let numbers = (0i64..).map(Value::Int);
                numbers.zip(list.items.iter().cloned()).collect()
            }
            Value::Map(map) => {
                map.entries.iter().map(|(key, value)| (key_value(key), value.clone())).collect()
            }
            _ => return Err(EvalError::no_overload()),
        };
        let over_list = matches!(range, Value::List(_));
        let mut fold_state = crate::operators::FoldState::new(fold.kind);
        for (key, value) in pairs {
            // The loop's own condition and step.
            self.meter.charge(2)?;
            let height = self.locals.len();
            let shown = if over_list && !fold.two_names { value.clone() } else { key.clone() };
            self.locals.push(shown.clone());
            if fold.two_names {
                self.locals.push(value.clone());
            }
            let more = self.fold_step(fold, &mut fold_state, &key, &shown);
            self.locals.truncate(height);
            if !more? {
                break;
            }
        }
        fold_state.finish()
    }

    /// One element; false when the result is decided.
    fn fold_step(
        &mut self,
        fold: &Fold,
        state: &mut crate::operators::FoldState,
        key: &Value,
        shown: &Value,
    ) -> Result<bool, EvalError> {
        if let Some(predicate) = &fold.predicate {
            match self.run(predicate)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(true),
                _ => return Err(EvalError::no_overload()),
            }
        }
        let body = self.run(&fold.body);
        if let Err(limit @ (EvalError::ExpressionLimit | EvalError::RequestLimit)) = body {
            return Err(limit);
        }
        if matches!(fold.kind, FoldKind::Map | FoldKind::Filter | FoldKind::TransformMap) {
            self.meter.charge(LIST_COST)?;
        }
        state.add(body, key, shown)
    }
}

fn insert(
    made: &mut BTreeMap<Key, Value>,
    key: Key,
    value: Value,
    optional: bool,
) -> Result<(), EvalError> {
    let value = match (value, optional) {
        (value, false) => value,
        (Value::Optional(Some(inner)), true) => (*inner).clone(),
        (Value::Optional(None), true) => return Ok(()),
        _ => return Err(EvalError::no_overload()),
    };
    if made.contains_key(&key) {
        return Err(EvalError::failed(format!(
            "Failed with repeated key {}",
            crate::operators::key_text(&key)
        )));
    }
    made.insert(key, value);
    Ok(())
}

pub(crate) fn key_value(key: &Key) -> Value {
    match key {
        Key::Bool(value) => Value::Bool(*value),
        Key::Int(value) => Value::Int(*value),
        Key::Uint(value) => Value::Uint(*value),
        Key::Text(text) => Value::String(text.clone()),
    }
}

fn select(operand: &Value, field: &Arc<str>, mode: Select) -> Outcome {
    let found = match operand {
        Value::Map(map) => map.entries.get(&Key::Text(field.clone())),
        Value::Optional(None) => {
            return Ok(if mode == Select::Test {
                Value::Bool(false)
            } else {
                Value::Optional(None)
            });
        }
        Value::Optional(Some(inner)) => {
            let mode = if mode == Select::Field { Select::Optional } else { mode };
            return select(inner, field, mode);
        }
        _ => return Err(EvalError::no_overload()),
    };
    match mode {
        Select::Test => Ok(Value::Bool(found.is_some())),
        Select::Optional => {
            Ok(found.map_or(Value::Optional(None), |value| Value::some(value.clone())))
        }
        Select::Field => {
            found.cloned().ok_or_else(|| EvalError::failed(format!("no such key: {field}")))
        }
    }
}
