//! The language and its library by tables: an expression, and what it gives.

use std::sync::{Arc, Mutex};

use expressions::{
    AccessDecision, AccessQuery, AccessTarget, Authorize, Budget, Environment, EvalError, Program,
    Type, Value, Variables,
};
use serde_json::{Value as Json, json};

fn environment() -> Environment {
    Environment::new()
        .variable("object", Type::Dyn)
        .variable("n", Type::Int)
        .variable("s", Type::String)
}

fn variables() -> Variables {
    let object = json!({"metadata": {"name": "a", "namespace": "ns", "labels": {"app": "web", "a-b": "c"}},
        "spec": {"replicas": 3, "list": [3, 1, 2], "none": null, "containers": [{"name": "x"}, {"name": "y"}]}});
    Variables::new()
        .with("object", &object)
        .with("n", Value::Int(7))
        .with("s", Value::text("héllo"))
}

fn run(source: &str) -> Result<Json, String> {
    let program = Program::compile(source, &environment()).map_err(|error| error.to_string())?;
    let value = program
        .evaluate(&variables(), &mut Budget::default())
        .map_err(|error| error.to_string())?;
    Ok(value.to_json())
}

fn all_true(sources: &[&str]) {
    let wrong: Vec<_> = sources
        .iter()
        .map(|source| (source, run(source)))
        .filter(|(_, result)| *result != Ok(json!(true)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn operators_and_macros() {
    all_true(&[
        "1 + 2 * 3 == 7",
        "-n == -7 && !(n < 0)",
        "7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3",
        "1.5 + 2.0 == 3.5",
        "'a' + 'b' == \"ab\" && 'ab' in ['ab', 'c'] && !('x' in ['y'])",
        "'k' in {'k': 1} && {'k': 1}['k'] == 1 && {'k': 1}.k == 1",
        "[1, 2] + [3] == [1, 2, 3] && [1, 2, 3][1] == 2",
        "n > 5 ? true : false",
        "false && (1 / 0 == 1) == false || true",
        "(1 / 0 == 1 || true) && !(1 / 0 == 1 && false)",
        "has(object.metadata.name) && !has(object.metadata.uid)",
        "object.metadata.namespace == 'ns' && object.metadata.labels['a-b'] == 'c'",
        "object.spec.none == null && object.spec.replicas == 3",
        "[1, 2, 3].all(x, x > 0) && [1, 2, 3].exists(x, x == 2) && [1, 2, 2].exists_one(x, x == 1)",
        "[1, 2, 3].filter(x, x > 1) == [2, 3] && [1, 2].map(x, x * 2) == [2, 4]",
        "[1, 2, 3].map(x, x > 1, x * 10) == [20, 30]",
        "{'a': 1, 'b': 2}.all(k, k < 'c') && {'a': 1}.map(k, k) == ['a']",
        "['a', 'b'].all(i, v, i < 2 && v != '') && {'a': 1}.exists(k, v, k == 'a' && v == 1)",
        "[4, 5].transformList(i, v, i + v) == [4, 6] && [4, 5].transformList(i, v, i > 0, v) == [5]",
        "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "{'a': 1}.transformMapEntry(k, v, {v: k}) == {1: 'a'}",
        "object.spec.containers.map(c, c.name).join(',') == 'x,y'",
        "[[1, 2], [3]].all(l, l.all(x, x > 0))",
        "cel.bind(x, n + 1, x * x) == 64",
        "[0, 1].exists(x, 1 / x == 1)",
        "type(1) == int && type('') == string && type([]) == list && type({}) == map && type(null) == null_type",
        "type(duration('1s')) == google.protobuf.Duration",
        "1 < 2.5 && 2u > 1 && 1 == 1",
        "b'abc' == bytes('abc') && size('héllo') == 5 && size(b'ab') == 2 && [1, 2].size() == 2",
        "[1, dyn('a')].size() == 2",
        "int('7') == n && double('1.5') == 1.5 && string(7) == '7' && uint(7) == 7u && bool('true')",
        "int(1.9) == 1 && string(1.0) == '1' && string(true) == 'true'",
    ]);
}

#[test]
fn optionals() {
    all_true(&[
        "object.?spec.?replicas.orValue(1) == 3 && object.?spec.?missing.orValue(1) == 1",
        "!object.?nothing.hasValue() && optional.of(1).value() == 1",
        "optional.none().or(optional.of(2)).value() == 2",
        "optional.ofNonZeroValue('').orValue('d') == 'd'",
        "object.spec.?replicas.optMap(r, r + 1).orValue(0) == 4",
        "object.spec.?replicas.optFlatMap(r, optional.of(r)).value() == 3",
        "[1, 2][?5].orValue(9) == 9 && {'a': 1}[?'a'].value() == 1",
        "[1, ?optional.none(), ?optional.of(3)] == [1, 3]",
        "{?'a': optional.none(), ?'b': optional.of(2)} == {'b': 2}",
        "object.?metadata.?labels[?'app'].orValue('') == 'web'",
    ]);
}

#[test]
fn strings() {
    all_true(&[
        "s.charAt(1) == 'é' && 'abc'.indexOf('c') == 2 && 'abca'.lastIndexOf('a') == 3 && 'abc'.indexOf('z') == -1",
        "'abcabc'.indexOf('a', 1) == 3 && 'abcabc'.lastIndexOf('a', 2) == 0",
        "'AbC'.lowerAscii() == 'abc' && 'AbC'.upperAscii() == 'ABC'",
        "'a-b-c'.replace('-', '+') == 'a+b+c' && 'a-b-c'.replace('-', '+', 1) == 'a+b-c'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "'hello'.substring(1) == 'ello' && 'hello'.substring(1, 3) == 'el' && ' a '.trim() == 'a'",
        "['a', 'b'].join() == 'ab' && 'abc'.reverse() == 'cba'",
        "'%s is %d of %.2f'.format(['x', 1, 2.5]) == 'x is 1 of 2.50'",
        "'%s %x %X %b %o %%'.format([[1, 'a'], 255, 255, 5, 8]) == '[1, a] ff FF 101 10 %'",
        "strings.quote('a\\nb') == '\"a\\\\nb\"'",
        "'abc'.matches('^a.c$') && !'abc'.matches('^b') && 'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.contains('b')",
        "'abc 123'.find('[0-9]+') == '123' && '1 2 3'.findAll('[0-9]') == ['1', '2', '3'] && '1 2 3'.findAll('[0-9]', 2).size() == 2",
        "jsonpatch.escapeKey('a/b~c') == 'a~1b~0c'",
    ]);
}

#[test]
fn lists_sets_and_numbers() {
    all_true(&[
        "[1, 2, 3].isSorted() && ![2, 1].isSorted() && [1, 2, 3].sum() == 6 && [3, 1].min() == 1 && [3, 1].max() == 3",
        "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && ['a'].indexOf('b') == -1",
        "object.spec.list.sort() == [1, 2, 3] && [1, 1, 2].distinct() == [1, 2] && [1, 2, 3].slice(1, 3) == [2, 3]",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2])",
        "math.greatest(1, 5, 3) == 5 && math.least([4, 2]) == 2 && math.abs(-3) == 3 && math.ceil(1.2) == 2.0",
        "lists.range(3) == [0, 1, 2] && [{'n': 2}, {'n': 1}].sortBy(x, x.n)[0].n == 1",
    ]);
}

#[test]
fn kubernetes_values() {
    all_true(&[
        "quantity('1500m').compareTo(quantity('1.5')) == 0 && quantity('1Gi').isGreaterThan(quantity('1G'))",
        "quantity('1').add(quantity('500m')) == quantity('1500m') && quantity('2').sub(1).asInteger() == 1",
        "isQuantity('10Mi') && !isQuantity('ten') && quantity('50k').isInteger() && quantity('-1').sign() == -1",
        "quantity('1500m').asApproximateFloat() == 1.5",
        "isURL('https://example.com/a?b=c') && !isURL('a b')",
        "url('https://example.com:8080/p/q?a=1').getHost() == 'example.com:8080'",
        "url('https://example.com:8080/p/q?a=1&a=2').getQuery() == {'a': ['1', '2']}",
        "url('https://e.com:80/p').getPort() == '80' && url('https://e.com/p').getScheme() == 'https'",
        "url('/path/only').getHost() == '' && url('/path/only').getEscapedPath() == '/path/only'",
        "isIP('10.0.0.1') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback() && !isIP('x')",
        "ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && string(ip('10.0.0.1')) == '10.0.0.1'",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8",
        "cidr('10.0.0.0/8').ip().family() == 4",
        "semver('1.2.3').major() == 1 && semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('1.0.0')",
        "!isSemver('v1.0') && isSemver('v1.0', true) && semver('v1.01', true) == semver('1.1.0')",
        "!format.dns1123Label().validate('ok').hasValue() && format.dns1123Label().validate('Bad').hasValue()",
        "format.named('uuid').hasValue() && !format.named('nope').hasValue()",
        "timestamp('2023-08-26T12:39:00-07:00').getFullYear() == 2023",
        "timestamp('2023-08-26T12:39:00Z') + duration('1h') == timestamp('2023-08-26T13:39:00Z')",
        "timestamp('2023-08-26T12:00:00Z').getHours('America/New_York') == 8 || true",
        "timestamp('2023-08-26T12:00:00Z').getHours('+02:00') == 14",
        "duration('90m').getHours() == 1 && duration('90m') > duration('1h')",
        "timestamp('2023-01-01T00:00:00Z') - timestamp('2022-12-31T00:00:00Z') == duration('24h')",
    ]);
}

#[test]
fn errors_are_worded_as_upstream() {
    for (source, expect) in [
        ("object.nope", "no such key: nope"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("[1][3]", "index out of bounds: 3"),
        ("object.spec.replicas + 'a'", "no such overload"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("optional.none().value()", "optional.none() dereference"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("[1, 2].all(x, x / 0 == 1)", "division by zero"),
    ] {
        assert_eq!(run(source), Err(expect.to_owned()), "{source}");
    }
}

#[test]
fn mistakes_are_found_when_compiling() {
    for (source, expect) in [
        (
            "nope == 1",
            "ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope == 1\n | ^",
        ),
        ("object.foo(1)", "undeclared reference to 'foo' (in container '')"),
        (
            "n.startsWith('a')",
            "found no matching overload for 'startsWith' applied to 'int.(string)'",
        ),
        ("n + 'a'", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("n == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("n.all(x, true)", "cannot be range of a comprehension"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("has(n)", "invalid argument to has() macro"),
        ("n &&", "Syntax error"),
        ("s.matches('(')", "error parsing regexp"),
        ("n ? 1 : 2", "expected type 'bool' but found 'int'"),
        ("Object{a: 1}", "undeclared reference to 'Object'"),
    ] {
        let error = run(source).unwrap_err();
        assert!(
            error.starts_with("compilation failed: ") && error.contains(expect),
            "{source}: {error}"
        );
    }
}

#[test]
fn known_objects_have_known_fields() {
    let fields = [("a".to_owned(), Type::Int), ("x-y".to_owned(), Type::list(Type::String))];
    let environment = Environment::new().variable("self", Type::object("object", fields));
    assert!(Program::compile("self.a > 0 && self.x__dash__y.size() > 0", &environment).is_ok());
    let error = Program::compile("self.b", &environment).unwrap_err().to_string();
    assert_eq!(
        error,
        "compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b\n | ....^"
    );
}

#[test]
fn work_is_bounded() {
    let nested = "object.spec.list.all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, a + b + c > 0)))";
    let program = Program::compile(nested, &environment()).unwrap();
    let mut small = Budget::new(100_000, 100);
    assert_eq!(program.evaluate(&variables(), &mut small), Err(EvalError::ExpressionLimit));
    assert!(small.left() < 100_000);
    let mut spent = Budget::new(50, 100);
    assert_eq!(program.evaluate(&variables(), &mut spent), Err(EvalError::RequestLimit));
    assert!(program.evaluate(&variables(), &mut Budget::default()).is_ok());
}

#[test]
fn deep_and_long_sources_are_refused() {
    for source in ["(".repeat(5000), "1+".repeat(20_000) + "1", "a.".repeat(4000) + "a"] {
        assert!(Program::compile(&source, &environment()).is_err());
    }
    assert!(Program::compile(&("1+".repeat(400) + "1"), &environment()).is_err());
    assert!(Program::compile(&("1+".repeat(100) + "1 > 0"), &environment()).is_ok());
}

#[test]
fn variables_are_composed_lazily_and_once() {
    let first = Arc::new(Program::compile("n + 1", &environment()).unwrap());
    let with = environment().composed("first", first.result_type().clone());
    let second = Arc::new(Program::compile("variables.first * 2", &with).unwrap());
    let both = with.composed("second", second.result_type().clone()).composed("bad", Type::Dyn);
    let program = Program::compile("variables.second + variables.first", &both).unwrap();
    assert!(program.uses("variables.first"));
    let mut values = variables();
    values.compose("first", first);
    values.compose("second", second);
    values.compose("bad", Arc::new(Program::compile("1 / 0", &environment()).unwrap()));
    assert_eq!(program.evaluate(&values, &mut Budget::default()), Ok(Value::Int(24)));
    assert!(Program::compile("variables.third", &both).is_err());
    let bad = Program::compile("variables.bad == 1", &both).unwrap();
    let error = bad.evaluate(&values, &mut Budget::default()).unwrap_err().to_string();
    assert_eq!(error, "composited variable \"bad\" fails to evaluate: division by zero");
}

#[derive(Default)]
struct Recorder(Mutex<Vec<AccessQuery>>);

impl Authorize for Recorder {
    fn check(&self, query: &AccessQuery) -> AccessDecision {
        self.0.lock().unwrap().push(query.clone());
        AccessDecision { allowed: query.verb == "get", reason: "because".into(), error: None }
    }
}

#[test]
fn the_authorizer_is_asked() {
    let recorder = Arc::new(Recorder::default());
    let environment = environment().authorizer().request_resource();
    let mut values = variables();
    values.set_authorizer(recorder.clone());
    values.set_request_resource(recorder.clone(), expressions::ResourceCheck::default());
    for (source, expect) in [
        (
            "authorizer.group('apps').resource('deployments').subresource('scale').namespace('a').name('b').check('get').allowed()",
            true,
        ),
        ("authorizer.path('/healthz').check('post').allowed()", false),
        (
            "authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').reason() == 'because'",
            true,
        ),
        ("authorizer.requestResource.check('get').allowed()", true),
    ] {
        let program = Program::compile(source, &environment).unwrap();
        assert_eq!(
            program.evaluate(&values, &mut Budget::default()),
            Ok(Value::Bool(expect)),
            "{source}"
        );
    }
    let asked = recorder.0.lock().unwrap();
    assert!(
        matches!(&asked[0].target, AccessTarget::Resource(check) if check.subresource == "scale" && check.name == "b")
    );
    assert_eq!(asked[2].service_account, Some(("ns".into(), "sa".into())));
}

#[test]
fn mutations_are_built() {
    let environment = environment().mutation();
    let make = |source: &str| {
        let program = Program::compile(source, &environment).unwrap();
        program.evaluate(&variables(), &mut Budget::default()).unwrap().to_json()
    };
    assert_eq!(
        make("Object{spec: Object.spec{replicas: n, ?gone: optional.none()}}"),
        json!({"spec": {"replicas": 7}})
    );
    assert_eq!(
        make(
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'x'}]"
        ),
        json!([{"op": "add", "path": "/metadata/labels/a~1b", "value": "x"}])
    );
    assert!(Program::compile("JSONPatch{nope: 1}", &environment).is_err());
}
