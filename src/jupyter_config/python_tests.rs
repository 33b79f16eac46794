#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Returns the settings found as `LINE PATH=VALUE`, and an unclear part as `LINE? WHAT`.
fn found(source: &str) -> Vec<String> {
    let said = read(source.as_bytes());
    let settings = said.settings.iter().map(|setting| {
        let value = match &setting.value {
            Value::Text(text) => format!("'{text}'"),
            Value::MaybeEmpty => "perhaps ''".into(),
            Value::Unknown => "…".into(),
        };
        format!(
            "{} {}={value}",
            setting.line.unwrap(),
            setting.path.join(".")
        )
    });
    let unclear = said.unclear.iter().map(|unclear| {
        let line = unclear.line.unwrap();
        format!("{line}? {}", unclear.what)
    });
    settings.chain(unclear).collect()
}

#[test]
fn files_without_a_word_about_authentication_are_clear() {
    for source in [
        "",
        "\u{feff}# Configuration file for lab.\n\nc = get_config()  #noqa\n",
        "# c.ServerApp.password = 'x'\n   # c.ServerApp.token = 'x'\n\n  \n",
        "c.ServerApp.port = 8888; c.ServerApp.ip = '*'\n",
        "'''c.ServerApp.password = 'x'\n'''\nc.ServerApp.port = 1",
        "c.ServerApp.port = \\\n    8888\n",
        "c.ServerApp.tornado_settings = {\n  'headers': {'a': \"b # c\"},  # d\n}\n",
        "import os, sys\nfrom pathlib import Path as P\nc.ServerApp.root_dir = os.environ['X']\n",
        "import os\nport = int(os.environ.get('PORT', '1').strip())\nc.ServerApp.port = port\n",
        "c['ServerApp']['port'] = 1\nc.ServerApp['port'] = 1\n",
        "c.ServerApp.jpserver_extensions.update({'x': True})\n",
        "c.ContentsManager.hide_globs.append('x')\nc.A.b += ['x']\n",
        "c.ServerApp.password_required = True\nc.ServerApp.allow_password_change = False\n",
        "c.ServerApp.base_url = f\"/user/{x}\"\nc.A.b = 1 if x else None\n",
        "c.A.b = 'c.ServerApp.password'\r\nc.A.b = r'\\'\r\n"
            .replace("\\'\r", "\\\\'\r")
            .as_str(),
        "c.PasswordIdentityProvider.cookie_name = 'x'\n",
        "c.ServerProxy.servers = {'code': {'command': ['code-server', '--auth=none']}}\n",
        "c.ServerApp.tornado_settings = {'headers': {'X-Auth': 'https://auth.example.org'}}\n",
        "c.LatexExporter.author = 'me'\nc.ServerApp.authorizer_class = 'x.Y'\n",
        "import glob\nc.A.b = len(glob.glob('/x/*')) <= 1\n",
        "import os\nc.A.b = 'x' if len(os.environ.get('Y', '')) > 3 else str(4)\n",
        "import glob\nk = {k for d in x.split(':') + ['a'] if d for k in glob.glob(d + '/*')}\n",
        "c.A.b = '%s/x' % ('a')\nc.A.b = ', '.join(['a', 'b'])\npass\n",
        "# -*- coding: utf-8 -*-\n",
    ] {
        assert_eq!(found(source), Vec::<String>::new(), "{source:?}");
    }
}

#[test]
fn settings_are_found_with_line_and_value() {
    for (source, expected) in [
        ("c.ServerApp.password = 'x'", "1 ServerApp.password='x'"),
        (
            "\nc.IdentityProvider.token = \"\"\n",
            "2 IdentityProvider.token=''",
        ),
        (
            "c . ServerApp\\\n.password = u'x'",
            "1 ServerApp.password='x'",
        ),
        ("c.A.password = (\n'a'\n'b')", "1 A.password='ab'"),
        ("c['A'][\"token\"] = 'x'", "1 A.token='x'"),
        ("c.A.B.hashed_password = 'x'", "1 A.B.hashed_password='x'"),
        ("c.A.password = passwd('x')", "1 A.password=…"),
        ("c.A.password = 'a\\x62'", "1 A.password=…"),
        ("c.A.password = b'x'", "1 A.password=…"),
        ("c.A.token += 'x'", "1 A.token=…"),
        (
            "c.A.identity_provider_class = P",
            "1 A.identity_provider_class=…",
        ),
        ("c.A.update({'password': 'x'})", "1 A=…"),
        ("c.A = {'token': ''}", "1 A=…"),
        ("c.update({'A': {'password': 1}})", "1 =…"),
        (
            "c.A.PasswordIdentityProvider = {'x': 1}",
            "1 A.PasswordIdentityProvider=…",
        ),
        ("c.A.x = {'b': {}, 'hashed_password': 'x'}", "1 A.x=…"),
        ("# x\rc.A.password = 'x'", "2 A.password='x'"),
    ] {
        assert_eq!(found(source), [expected], "{source:?}");
    }
}

#[test]
fn whatever_else_there_is_cannot_be_judged() {
    for (source, line, what) in [
        ("\nexec('c.A.password = 1')", 2, "`exec`"),
        ("load_subconfig('x.py')", 1, "`load_subconfig`"),
        ("if x:\n    c.A.b = 1", 1, "`if`"),
        ("for x in y: c.A.b = 1", 1, "`for`"),
        ("def f():\n  pass", 1, "`def`"),
        ("with x as y: pass", 1, "`with`"),
        ("setattr(c.A, 'pass' + 'word', 1)", 1, "`setattr`"),
        ("import mine", 1, "`import` of `mine`"),
        ("import os, mine", 1, "`import` of `os`"),
        ("from os import *", 1, "`from` of `os`"),
        ("from os import system as int", 1, "`from` of `os`"),
        ("from .mine import x", 1, "`from` of `.`"),
        ("import os as c", 1, "`import` of `os`"),
        ("d = c", 1, "`d`"),
        ("d = get_config()", 1, "`d`"),
        ("d = c.A\nd.password = 1", 1, "`d`"),
        ("int = exec\nc.A.b = int('x')", 1, "`int`"),
        ("c = mine()", 1, "`c = …`"),
        ("c.A.b = c.A.password = 'x'", 1, "value of `c.A.b`"),
        ("c.A.b = mine()", 1, "value of `c.A.b`"),
        ("c.A.b = (lambda: 1)()", 1, "value of `c.A.b`"),
        ("c.A.b = [exec(x) for x in y]", 1, "value of `c.A.b`"),
        ("c.A.b = [int('x') for int in y]", 1, "value of `c.A.b`"),
        ("c.A.b = [x for x[0] in mine()]", 1, "value of `c.A.b`"),
        ("c.A.b = [x for x, exec in y]", 1, "value of `c.A.b`"),
        ("c.A.b = (x := 1)", 1, "value of `c.A.b`"),
        ("c.A.b = f'{mine()}'", 1, "value of `c.A.b`"),
        ("c.A.b = x.__class__", 1, "value of `c.A.b`"),
        ("c.A.b = ()()", 1, "value of `c.A.b`"),
        ("c.A = x", 1, "value of `c.A`"),
        ("c.update(x)", 1, "value of `c.`"),
        ("c.A.mine()", 1, "call of `mine`"),
        ("c.A.append('x').mine()", 1, "value of `c.A`"),
        ("c[x]['y'] = 1", 1, "computed key"),
        ("c.__dict__['A'] = 1", 1, "`__dict__`"),
        ("c.A: x = 1", 1, "`:`"),
        ("  c.A.b = 1", 1, "indented block"),
        ("\x0cc.A.b = 1", 1, "indented block"),
        ("try:\n  pass\nexcept: pass", 1, "`try`"),
        ("@x\nclass A: pass", 1, "`@`"),
        ("c.A.b = 'x", 1, "unfinished text"),
        ("c.A.b = '''x", 1, "unfinished text"),
        ("c.A.b = (1", 1, "open bracket"),
        ("c.A.b = 1)", 1, "stray bracket"),
        ("c.A.ｐassword = 1", 1, "the character 'ｐ'"),
        ("c.A.b = `x`", 1, "the character '`'"),
        ("# coding: utf-7\n", 1, "other encoding"),
        ("#!/x\n# -*- coding=rot13 -*-\n", 2, "other encoding"),
        ("x", 1, "`x`"),
        ("x.y = 1", 1, "`x`"),
        ("x += 1", 1, "`x`"),
        ("del c.A", 1, "`del`"),
        ("raise X", 1, "`raise`"),
        ("c", 0, ""),
    ] {
        let said = read(source.as_bytes());
        let unclear = said
            .unclear
            .map(|unclear| (unclear.line.unwrap(), unclear.what));
        let expected = (line > 0).then(|| (line, what.to_owned()));
        assert_eq!(unclear, expected, "{source:?}");
    }
    assert!(read(b"c.A.b = '\xff'").unclear.is_some(), "not UTF-8");
}

/// The unclear statement may have changed the value, or ended the file before it.
#[test]
fn beside_what_is_unclear_a_setting_is_found_and_no_value_is_sure() {
    let source = "c.A.token = ''\nif x: pass\nc.A.password = 'x'\n";
    let expected = ["1 A.token=perhaps ''", "3 A.password=…", "2? `if`"];
    assert_eq!(found(source), expected);
}

/// Generates pieces of statements, which the test joins at random.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "c",
        ".",
        "A",
        "password",
        "=",
        "'x'",
        "\"",
        "'''",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "\n",
        ";",
        "#",
        "\\",
        " ",
        "\t",
        "import",
        "os",
        "get_config()",
        "1",
        "f'",
        "r'",
        ",",
        ":",
        "+=",
        "\r",
        "if",
        "exec",
        "ä",
    ])
}

proptest! {
    #[test]
    fn no_bytes_make_it_stumble(source in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&source);
    }

    /// A file that mentions a trait outside comments and strings is never taken for a file
    /// without settings.
    #[test]
    fn no_mention_is_lost(pieces in prop::collection::vec(piece(), 0..40)) {
        let source = pieces.concat() + "\nc.A.password = 'x'\n";
        let said = read(source.as_bytes());
        let open = pieces.iter().any(|piece| piece.contains(['"', '\'', '\\', '(', '[', '{']));
        prop_assert!(
            said.unclear.is_some() || !said.settings.is_empty() || open,
            "{source:?}"
        );
    }
}

/// A file that cannot be run all the same says where the server was to listen.
#[test]
fn an_unclear_statement_hides_only_what_it_may_set() {
    let ip = "c.ServerApp.ip = '127.0.0.1'\n";
    let hides = |text: &str| read(text.as_bytes()).hides_traits;
    let known = |text: &str| {
        let traits = read(text.as_bytes()).server_traits;
        let mut values = traits.iter().filter(|named| named.name == "ServerApp.ip");
        values.all(|named| named.value.as_deref() == Some("127.0.0.1"))
    };
    for text in [
        "import os\nx = os.getcwd()",
        "with open('x') as y:\n    c.ServerApp.password = y.read()",
        "import s3contents",
        "from s3contents import S3 as s",
        "raise ValueError(1)",
        "1/0",
        "undefined(1)",
        "c.ServerApp.port = = 1",
        "c.ServerApp.port = undefined()",
        "if x:\n    y = 1",
    ] {
        for text in [format!("{text}\n{ip}"), format!("{ip}{text}\n")] {
            assert!(known(&text) && !hides(&text), "{text}");
        }
    }
    for text in [
        "from s3contents import *",
        "from x import y as c",
        "f(c)",
        "d = c",
        "c.update(x)",
        "c.ServerApp = x",
        "c.ServerApp.port = f(c)",
        "load_subconfig('x')",
        "exec(x)",
        "d = get_config()",
        "if x:\n    c.ServerApp.ip = '127.0.0.1'",
        "c.ServerApp.ip = x",
    ] {
        for text in [format!("{text}\n{ip}"), format!("{ip}{text}\n")] {
            assert!(!known(&text), "{text}");
        }
    }
    for (text, expected) in [
        ("load_subconfig('x')", true),
        ("with x:\n    load_subconfig('x')", true),
        ("exec(open('x').read())", true),
        ("load_subconfig('x')\ny = (", true),
        ("# load_subconfig('x')\nc.ServerApp.port = (", false),
        ("c.ServerApp.ip = x", false),
    ] {
        assert_eq!(hides(text), expected, "{text}");
    }
}

#[test]
fn where_the_server_listens_is_named_in_whatever_statement() {
    let conditional = |text: &str| read(text.as_bytes()).server_traits[0].conditional;
    for (text, expected) in [
        ("c.ServerApp.ip = x", false),
        ("c['ServerApp']['ip'] = 'x'", false),
        ("if x: c.ServerApp.ip = 'x'", true),
        ("if x:\n    c.ServerApp.ip = 'x'", true),
        (
            "try:\n    c.ServerApp.update({'ip': 'x'})\nfinally: pass",
            true,
        ),
    ] {
        assert_eq!(conditional(text), expected, "{text}");
    }
    let named = |text: &str| -> Vec<(String, Option<String>)> {
        let said = read(text.as_bytes());
        let named = said.server_traits.into_iter();
        named.map(|named| (named.name, named.value)).collect()
    };
    let ip = |value: Option<&str>| vec![("ServerApp.ip".to_owned(), value.map(str::to_owned))];
    for (text, expected) in [
        ("c.ServerApp.ip = '127.0.0.1'", ip(Some("127.0.0.1"))),
        ("c['ServerApp']['ip'] = '::1'", ip(Some("::1"))),
        ("c.NotebookApp.ip = 'localhost'", ip(Some("localhost"))),
        ("c.ServerApp.ip = os.environ['IP']", ip(None)),
        ("if x:\n    c.ServerApp.ip = '127.0.0.1'", ip(None)),
        ("if x: c.ServerApp.ip = '127.0.0.1'", ip(None)),
        ("get_config().ServerApp.ip = '127.0.0.1'", ip(None)),
        (
            "c.ServerApp.update({'ip': '127.0.0.1'})",
            ip(Some("127.0.0.1")),
        ),
        ("c.ServerApp = {'ip': '127.0.0.1'}", ip(Some("127.0.0.1"))),
        (
            "c.update({'ServerApp': {'ip': '127.0.0.1'}})",
            ip(Some("127.0.0.1")),
        ),
        ("c.ServerApp.ip = '127.0.0.1' if", ip(None)),
        ("c.ServerApp.ip = ('127.0.0.1'", ip(None)),
        ("c.KernelManager.ip = '127.0.0.1'", vec![]),
        ("# c.ServerApp.ip = '127.0.0.1'", vec![]),
        ("# c.ServerApp.ip = '127.0.0.1'\nx = 'open", vec![]),
        ("c.ServerApp.ip = 'open", ip(None)),
        ("x = 'ServerApp.ip'", vec![]),
        ("c.ServerApp.tornado_settings = {'ip': 1}", vec![]),
    ] {
        assert_eq!(named(text), expected, "{text}");
    }
    assert_eq!(
        named("c.ServerApp.notebook_dir = '/w'\nc.ServerApp.port = 1"),
        [
            ("ServerApp.root_dir".to_owned(), Some("/w".to_owned())),
            ("ServerApp.port".to_owned(), Some("1".to_owned()))
        ]
    );
}
