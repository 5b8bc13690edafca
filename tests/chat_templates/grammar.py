"""Templates for oracle.py: small ones by hand, and ones made at random from a grammar."""
import random

VARIABLES = {
    "messages": [{"role": "user", "content": "Hi there"},
                 {"role": "assistant", "content": " <think>a</think> b ", "tool_calls": [
                     {"type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": [1.5]}}}]},
                 {"role": "tool", "content": [{"type": "text", "text": "42"}], "items": [1]}],
    "a": 7, "b": -3, "zero": 0, "f": 2.5, "g": -0.1, "t": True, "n": None,
    "s": "Hello, World", "e": "", "u": "\u00c9t\u00e9 \u00df \u4e2d\u6587 \U0001f600 \u03a3\u03a3", "w": "  a b\tc\n",
    "l": [3, 1, 2], "names": ["b", "A", "c", "a"], "empty": [], "nested": [[1, 2], [3], []],
    "d": {"k": "v", "n": None, "i": 3, "B": 1.0, "items": "hidden", "a": [1, 2]}, "nothing": {},
    "people": [{"name": "Zo\u00eb", "age": 3}, {"name": "adam", "age": 30}, {"name": "Bo", "age": 3}],
}


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        choice = self.random.choice(choices)
        return choice() if callable(choice) else choice

    def text(self, depth):
        if depth <= 0:
            return self.one("'abc'", "''", "'  x '", '"it\'s"', "'a,b,,c'", "'\\n'", "'\\u00e9'", "'12'", "'3.5'",
                            "'-7'", "s", "e", "u", "w", "'B'", "'1e3'", "'a\\tb'", "'\u4e2d'", "'1_0'")
        x = lambda: self.text(depth - 1)  # noqa: E731
        i = lambda: self.integer(depth - 1)  # noqa: E731
        return self.one(
            x, x, lambda: f"{x()} ~ {self.any(depth - 1)}", lambda: f"({x()} + {x()})",
            lambda: f"({x()} * {self.one('0', '1', '2', '3', '-1', 't')})",
            lambda: f"({x()})[{i()}]", lambda: f"({x()})[{self.bounds()}]",
            lambda: f"({x()})|{self.one('trim', 'upper', 'lower', 'capitalize', 'title', 'string', 'reverse', 'indent', 'list|join')}",
            lambda: f"({x()}).{self.one('strip', 'lstrip', 'rstrip', 'upper', 'lower', 'title', 'capitalize')}()",
            lambda: f"({x()}).{self.one('strip', 'lstrip', 'rstrip')}({x()})",
            lambda: f"({x()}).{self.one('removeprefix', 'removesuffix')}({x()})",
            lambda: f"({x()}).replace({x()}, {x()})", lambda: f"({x()})|replace({x()}, {x()})",
            lambda: f"({x()}).replace({x()}, {x()}, {self.one('0', '1', '2', '-1')})",
            lambda: f"({x()}).join({self.items(depth - 1)})", lambda: f"({self.items(depth - 1)})|join({x()})",
            lambda: f"({x()})|trim({x()})", lambda: f"({x()})|indent({self.one('2', 'first=true', '1, true, true')})",
            lambda: f"({x()} if {self.truth(depth - 1)} else {x()})", lambda: f"({self.any(depth - 1)})|string",
            lambda: f"({self.any(depth - 1)})|tojson", lambda: f"({self.any(depth - 1)})|tojson(indent={self.one('0', '2', 'none')})",
            lambda: f"({self.any(depth - 1)})|default({x()})", lambda: f"({self.any(depth - 1)})|default({x()}, true)",
            lambda: f"({self.items(depth - 1)})|{self.one('first', 'last')}",
            lambda: f"({x()}).split({self.one('', x(), repr(','))})[{self.one('0', '-1', '1')}]",
            lambda: f"messages[{self.one('0', '1', '2', '-1')}].{self.one('role', 'content', 'nope')}")

    def integer(self, depth):
        if depth <= 0:
            return self.one("0", "1", "2", "-1", "-2", "5", "a", "b", "zero", "t", "10", "0x1f", "1_000")
        i = lambda: self.integer(depth - 1)  # noqa: E731
        return self.one(
            i, i, lambda: f"({i()} {self.one('+', '-', '*', '//', '%')} {i()})", lambda: f"-({i()})", lambda: f"(-{i()})",
            lambda: f"({i()})|abs ** {self.one('0', '1', '2', '3')}", lambda: f"({self.any(depth - 1)})|length",
            lambda: f"({self.any(depth - 1)})|int", lambda: f"({i()})|abs", lambda: f"({self.text(depth - 1)})|int({i()})",
            lambda: f"({self.text(depth - 1)}).{self.one('find', 'count', 'rfind', 'index')}({self.text(depth - 1)})",
            lambda: f"({self.items(depth - 1)})|{self.one('min', 'max', 'first', 'last', 'count')}",
            lambda: f"({self.items(depth - 1)}).{self.one('index', 'count')}({i()})", lambda: f"loop.{self.one('index', 'index0', 'revindex', 'length')}")

    def number(self, depth):
        n = lambda: self.number(depth - 1)  # noqa: E731
        if depth <= 0:
            return self.one("f", "g", "1.0", "0.1", "1e16", "1.5e-7", "2.50", "a", "3", "-0.0", "123456789.123")
        return self.one(
            n, lambda: self.integer(depth - 1), lambda: f"({n()} {self.one('+', '-', '*', '/', '//', '%')} {n()})", lambda: f"({n()})|abs ** {self.one('-1', '0', '2', '3')}",
            lambda: f"({n()})|round", lambda: f"({n()})|round({self.one('1', '2', '0')}{self.one('', ', ' + repr('floor'), ', ' + repr('ceil'))})",
            lambda: f"({self.any(depth - 1)})|float", lambda: f"({n()})|abs", lambda: f"-({n()})")

    def bounds(self):
        part = lambda: self.one("", "", "0", "1", "2", "-1", "-2", "100", "-100", "a", "none")  # noqa: E731
        return f"{part()}:{part()}" + self.one("", "", ":", f":{self.one('1', '2', '-1', '-2', '0', '')}")

    def items(self, depth):
        if depth <= 0:
            return self.one("l", "names", "empty", "nested", "messages", "people", "[1, 2.0, 'x']", "[]", "(1, 2)",
                            "('a',)", "()", "range(4)", "range(5, 0, -2)", "d", "'abc'", "[none, true]", "missing", "n")
        x = lambda: self.items(depth - 1)  # noqa: E731
        test = lambda: self.one("'odd'", "'even'", "'string'", "'none'", "'defined'", "'equalto', 1", "'gt', 1",  # noqa: E731
                                "'in', l", "'mapping'", "'eq', 'a'", "'ne', 2", "'number'", "'sequence'", "'iterable'")
        return self.one(
            x, x, lambda: f"[{self.any(depth - 1)}, {self.any(depth - 1)}]", lambda: f"({self.any(depth - 1)},)",
            lambda: f"({x()} + {x()})", lambda: f"({x()})[{self.bounds()}]", lambda: f"({x()} * {self.one('0', '2')})",
            lambda: f"({x()})|{self.one('list', 'reverse|list', 'sort', 'unique|list')}",
            lambda: f"({x()})|sort(reverse=true{self.one('', ', case_sensitive=true')})",
            lambda: f"people|sort(attribute={self.one(repr('name'), repr('age'), repr('age,name'))}{self.one('', ', case_sensitive=true')})",
            lambda: f"({x()})|map({self.one(*map(repr, ('upper', 'string', 'length', 'int', 'trim', 'tojson', 'first')))})|list",
            lambda: f"({self.one('messages', 'people')})|map(attribute={self.one(*map(repr, ('role', 'content', 'name', 'nope', 'content.0')))}{self.one('', ', default=1')})|list",
            lambda: f"({x()})|{self.one('select', 'reject')}({self.one('', test())})|list",
            lambda: f"({self.one('messages', 'people', x())})|{self.one('selectattr', 'rejectattr')}({self.one(*map(repr, ('role', 'age', 'name', 'content')))}{self.one('', ', ' + test())})|list",
            lambda: f"{self.mapping(depth - 1)}.{self.one('items', 'keys', 'values')}(){self.one('', '|list')}",
            lambda: f"({self.mapping(depth - 1)})|{self.one('items|list', 'dictsort', 'list', 'dictsort(false, ' + repr('value') + ')')}",
            lambda: f"({self.text(depth - 1)}).{self.one('split', 'splitlines', 'rsplit')}()",
            lambda: f"({self.text(depth - 1)}).{self.one('split', 'rsplit')}({self.text(depth - 1)}{self.one('', ', 1', ', maxsplit=0')})",
            lambda: f"range({self.integer(0)}, {self.integer(0)})", lambda: f"({x()} if {self.truth(depth - 1)} else {x()})")

    def mapping(self, depth):
        if depth <= 0:
            return self.one("d", "nothing", "messages[1]", "{'z': 1, 'y': 2, 'Z': 3}", "people[0]", "{}", "messages[-1]")
        return self.one(
            lambda: self.mapping(depth - 1),
            lambda: f"{{{self.text(depth - 1)}: {self.any(depth - 1)}, {self.one(self.integer(0), self.text(0))}: {self.any(depth - 1)}}}",
            lambda: f"dict({self.mapping(depth - 1)}, q={self.any(depth - 1)})", lambda: f"dict({self.items(depth - 1)})")

    def truth(self, depth):
        x = lambda: self.any(depth - 1)  # noqa: E731
        if depth <= 0:
            return self.one("true", "false", "t", "n", "missing", "a", "zero", "e", "s", "l", "empty", "d", "nothing", "f")
        return self.one(
            lambda: f"({x()} {self.one('==', '!=', '<', '<=', '>', '>=')} {x()})",
            lambda: f"({self.number(depth - 1)} {self.one('==', '!=', '<', '<=', '>', '>=')} {self.number(depth - 1)})",
            lambda: f"({self.integer(depth - 1)} < {self.integer(depth - 1)} <= {self.integer(depth - 1)})",
            lambda: f"({x()} {self.one('in', 'not in')} {self.one(self.items(depth - 1), self.text(depth - 1), self.mapping(depth - 1))})",
            lambda: f"({self.text(depth - 1)} in {self.text(depth - 1)})",
            lambda: f"({self.truth(depth - 1)} {self.one('and', 'or')} {self.truth(depth - 1)})", lambda: f"(not {self.truth(depth - 1)})",
            lambda: f"({self.one(x(), 'd.items', 's.upper', 'd[' + repr('items') + ']')} is {self.one('', 'not ')}{self.one('defined', 'undefined', 'none', 'string', 'mapping', 'iterable', 'sequence', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'callable')})",
            lambda: f"({x()} is {self.one('odd', 'even', 'lower', 'upper')})",
            lambda: f"({self.number(depth - 1)} is divisibleby({self.number(depth - 1)}))",
            lambda: f"({x()} is {self.one('equalto', 'eq', 'ne', 'gt', 'lt', 'ge', 'le', 'in')}({x()}))",
            lambda: f"({self.text(depth - 1)}).{self.one('startswith', 'endswith')}({self.one(self.text(depth - 1), '(' + self.text(0) + ', ' + self.text(0) + ')')})")

    def any(self, depth):
        if depth <= 0:
            return self.one("n", "t", "missing", "a", "f", "s", "l", "d", "e", "none", "true", "False", "'x'", "0", "[1]", "messages[9]",
                            "d.nope", "a.b", "n.x", "l.0", "l.append", "d.update")
        return self.one(*(lambda kind=kind: kind(depth) for kind in (self.text, self.integer, self.number, self.items, self.mapping,
                                                                     self.truth)),
                        lambda: f"{self.mapping(depth - 1)}.{self.one('k', 'z', 'name', 'a')}",
                        lambda: f"({self.mapping(depth - 1)})[{self.any(depth - 1)}]",
                        lambda: f"({self.mapping(depth - 1)}).get({self.text(depth - 1)}{self.one('', ', 5')})",
                        lambda: f"({self.items(depth - 1)})[{self.one(self.integer(0), self.any(depth - 1))}]")

    def statement(self, depth):
        body = lambda: self.one("x", "\n", "  ", "{{ i }}", "{{- i -}}", "\n  {# c #}\n", lambda: "{{ " + self.any(1) + " }}") if depth <= 0 else self.statement(depth - 1)  # noqa: E731
        begin = lambda: self.one("{%", "{%", "{%-", "{%+")  # noqa: E731
        end = lambda: self.one("%}", "%}", "-%}", "+%}", "%}\n", "-%}\n ", "\n%}")  # noqa: E731
        tag = lambda words: f"{begin()} {words} {end()}"  # noqa: E731
        space = lambda: self.one("", "", " ", "\n", "\n  ", "a ")  # noqa: E731
        return space() + self.one(
            lambda: tag(f"if {self.truth(1)}") + body() + tag("else") + body() + tag("endif"),
            lambda: tag(f"if {self.truth(1)}") + body() + tag(f"elif {self.truth(1)}") + body() + tag("endif"),
            lambda: tag(f"for i in {self.items(1)}") + body() + self.one("", "{{ loop.index }}{{ loop.last }}", "{{ loop.previtem }}{{ loop.cycle(1, 2) }}", "{{ loop.changed(i) }}") + tag("endfor"),
            lambda: tag(f"for i in {self.items(1)} if {self.one('i', 'i is string', 'i is not none', 'loop')}") + body() + tag("else") + body() + tag("endfor"),
            lambda: tag("for i in l") + body() + tag(f"if i == {self.one('1', '2')}") + tag(self.one("break", "continue")) + tag("endif") + body() + tag("endfor"),
            lambda: tag("for k, v in d.items()") + "{{ k }}={{ v }}" + tag("set i = k") + body() + tag("endfor") + "{{ i }}",
            lambda: tag(f"set i = {self.any(2)}") + body() + "{{ i }}",
            lambda: tag(f"set i, j = {self.items(1)}") + body() + "{{ i }}{{ j }}",
            lambda: tag("set i" + self.one("", " | upper", " | trim | length")) + body() + tag("endset") + "[{{ i }}]",
            lambda: tag("set ns = namespace(x=1)") + tag(f"for i in {self.items(0)}") + tag("set ns.x = ns.x ~ i") + body() + tag("endfor") + "{{ ns.x }}{{ ns.y }}",
            lambda: tag("macro m(p, q=2)") + "{{ p }}|{{ q }}" + body() + tag("endmacro") + "{{ " + self.one("m()", "m(1)", "m(1, 3)", "m(q=0)", "m(1, r=2)", "m(1, 2, 3)", "m(a, q=s)|upper") + " }}",
            lambda: tag("macro m()") + "<{{ caller(3) }}>" + tag("endmacro") + tag("call(i) m()") + body() + tag("endcall"),
            lambda: tag("raw") + "{{ x }}{% if %}" + tag("endraw"), lambda: tag("generation") + body() + tag("endgeneration"))


def record(template):
    return {"template": template, "inputs": VARIABLES}


def random_records(seed, count):
    grammar = Grammar(seed)
    for number in range(count):
        if number % 5 == 0:
            yield record(grammar.statement(2))
        else:
            yield record("{{ " + grammar.any(1 + number % 4) + " }}")


# One a line, "`" for a line end.
CASES = r"""
{{ 2 ** 3 ** 2 }} {{ 7 // -2 }} {{ 7 % -2 }} {{ -7 // 2 }} {{ 7.5 // -2 }} {{ 7.5 % -2 }} {{ 1 / 2 }} {{ 6 / 2 }}
{{ 9223372036854775807 }} {{ -9223372036854775807 - 1 }}
{{ 1e16 }} {{ 1e15 }} {{ 1e-4 }} {{ 1e-5 }} {{ 1.0 }} {{ 1e22 + 1 }} {{ 0.1 + 0.2 }} {{ 123456789012345680.0 }} {{ -0.0 }}
{{ 1 == 1.0 }} {{ true == 1 }} {{ 9007199254740993 == 9007199254740992.0 }} {{ 'a' < 'b' < 'c' }} {{ [1, 'a'] < [1, 'b'] }}
{{ [true, none, 1.5, 'it\'s', "a\"b'c", '\n\t\\', '\u00e9\u200b\U0001f600', (), (1,), {}, {'a': []}] }}
{{ {1: 'a', 1.0: 'b', true: 'c'} }} {{ {'a': 1, 'a': 2} }} {{ {none: 1}[none] }} {{ {(1, 2): 3}[(1, 2)] is defined }}
{{ not a == 7 }} {{ not a in [7] }} {{ a not in [7] }} {{ 1 if false }}{{ (1 if false) is defined }} {{ 1 if a else 2 if b else 3 }}
{{ 'a' 'b' "c" }} {{ 1_0 + 0x1F + 0b11 + 0o17 }} {{ '\x41\u0042\103' }} {{ '\q' }}
{{ s[0] }}{{ s[-1] }}{{ s[99] }}{{ s[::-1] }}{{ s[1:4] }}{{ s[:-7] }}{{ l[1:] }}{{ l[::2] }}{{ (1, 2, 3)[-2:] }}{{ u[-3:] }}{{ u|length }}
{{ l.0 }}{{ nested.0.1 }}{{ d.nope }}{{ d['k'] }}{{ d.get('zz') }}{{ d.get('zz', 4) }}{{ none.x }}{{ 5[0] }}{{ s.nope }}
{{ missing.x }}
{{ missing + 1 }}
{{ missing ~ 'a' }}{{ missing|length }}{{ missing|list }}{{ missing|join }}{{ missing == missing }}{{ missing in [1] }}{{ missing|upper }}
{{ missing|tojson }}
{{ missing|int }}
{{ missing() }}
{{ d.items() }}|{{ d.keys() }}|{{ d.values() }}|{{ d.keys()|list }}|{{ d|items|list }}|{{ d|dictsort }}|{{ d|dictsort(reverse=true) }}
{{ d.items is defined }}{{ d['items'] }}{{ d.update is defined }}{{ d.pop is defined }}{{ l.append is defined }}{{ l.count is callable }}
{{ l.append(4) }}
{{ d.update({'x': 1}) }}
{{ range(3) }} {{ range(1, 10, 3)|list }} {{ range(5)[1:4] }} {{ range(3)|length }} {{ 2 in range(3) }} {{ range(0)|first is defined }}
{{ range(100000)|length }}
{{ range(100001)|length }}
{{ '{:d}' }}{{ '%' ~ 5 }}
{{ w|trim }}|{{ w.strip() }}|{{ w.split() }}|{{ w.split(' ') }}|{{ w.rsplit(None, 1) }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}
{{ 'a\nb\r\nc\x85d\u2028e'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ 'aXbX'.replace('X', '--') }} {{ 'aaa'.replace('', '-', 2) }}
{{ 'a b-c (d'|title }} {{ 'a b-c (d it\'s'.title() }} {{ 'hELLO'|capitalize }} {{ u|upper }} {{ u|lower }} {{ u|title }} {{ u.title() }}
{{ '\u01c6\u01c4\ufb01\u00df\u1f80\u0130I'|upper }} {{ '\u01c6\u01c4\ufb01\u00df\u1f80\u0130I'.title() }} {{ '\u01c4\u0130\u1f88\u03a3 \u0391\u03a3. \u0391\u03a3\u0391'|lower }}
{{ 'abc'.startswith('ab') }}{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.endswith('') }}{{ 'abcabc'.find('c') }}{{ 'abcabc'.rfind('c') }}{{ u.find('\u4e2d') }}
{{ 'abc'.index('z') }}
{{ ','.join(['a', 'b']) }}
{{ ','.join([1]) }}
{{ [1, none, 'a']|join(', ') }} {{ people|join(',', attribute='name') }} {{ 'abc'|join('-') }} {{ d|join }}
{{ '42'|int }}{{ ' 4_2 '|int }}{{ '4.9'|int }}{{ 'x'|int }}{{ 'x'|int(9) }}{{ 4.9|int }}{{ -4.9|int }}{{ none|int }}{{ true|int }}{{ [1]|int }}{{ '1e3'|int }}
{{ '4.5'|float }}{{ 'x'|float }}{{ '.5'|float }}{{ '5.'|float }}{{ 'inf'|float }}{{ '-Infinity'|float }}{{ 'nan'|float }}{{ '1__0'|float }}{{ none|float }}{{ '0x10'|float }}{{ '+-3'|int }}
{{ 42.55|round(1) }}{{ 2.5|round }}{{ 3.5|round }}{{ 42.55|round(1, 'floor') }}{{ 2|round }}{{ -1.5|round(0, 'ceil') }}{{ 2.675|round(2) }}{{ 1e300|round(2) }}{{ true|round }}
{{ -3|abs }}{{ -3.5|abs }}{{ true|abs }}
{{ 'a'|abs }}
{{ names|sort }}{{ names|sort(case_sensitive=true) }}{{ names|sort(reverse=true) }}{{ names|unique|list }}{{ names|unique(true)|list }}{{ names|min }}{{ names|max }}{{ []|max }}
{{ people|sort(attribute='age,name')|map(attribute='name')|list }}{{ people|max(attribute='age') }}{{ [none, none]|sort }}
{{ [1, 'a']|sort }}
{{ [1, 0, 2]|select|list }}{{ [1, 0, 2]|reject|list }}{{ l|select('gt', 1)|list }}{{ l|select('in', [1, 2])|list }}{{ people|selectattr('age', 'eq', 3)|map(attribute='name')|join('+') }}
{{ people|rejectattr('age', 'divisibleby', 10)|list|length }}{{ people|selectattr('nope')|list }}{{ l|map('string')|list }}{{ names|map('replace', 'a', 'b')|list }}
{{ people|map(attribute='nope', default='?')|list }}{{ messages|map(attribute='content.0.text', default=0)|list }}{{ 0|map('upper')|list }}{{ none|select|list }}
{% set g = l|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}{{ g is iterable }}{{ g is sequence }}
{{ (l|map('string'))|length }}
{{ (l|reverse)|list }}{{ 'abc'|reverse }}{{ l|first }}{{ l|last }}{{ 'abc'|last }}{{ d|first }}{{ d|last }}{{ []|first }}
{{ 'a``b c'|indent }}|{{ 'a`b'|indent(2, true) }}|{{ 'a``b'|indent('> ', blank=true) }}|{{ ''|indent }}
{{ 5|indent }}
{{ {'b': [1, 2.0, none, true, 'x\u00e9\n"/<>&\x7f\x1b'], 'a': {}}|tojson }} {{ {'b': 1, 'a': [], 'c': [1]}|tojson(indent=2) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }}
{{ {'b': [1, 2]}|tojson(separators=(',', ':')) }} {{ '\u00e9\U0001f600\x7f'|tojson(ensure_ascii=true) }} {{ [1, [2]]|tojson(indent='--') }} {{ {1: 1, 1.5: 2, none: 3, false: 4}|tojson }}
{{ {(1,): 2}|tojson }}
{{ range(3)|tojson }}
{{ 1e400|string if false else 'x'|safe }} {{ ('<b>'|safe) ~ '<i>' }} {{ '<b>'|safe|length }} {% set x = '<'|safe %}{{ x }}{{ x == '<' }}{{ x is string }}{{ [x]|tojson }}
{{ 1 is number }}{{ true is number }}{{ true is integer }}{{ 1 is integer }}{{ 1.0 is float }}{{ true is boolean }}{{ 1 is true }}{{ none is none }}{{ d is mapping }}{{ d is sequence }}{{ 's' is sequence }}{{ l is iterable }}{{ 5 is iterable }}
{{ 3 is odd }}{{ 3 is even }}{{ 9 is divisibleby 3 }}{{ 1 is eq 1 }}{{ 1 is ne(2) }}{{ 2 is in [1, 2] }}{{ 'a' is lower }}{{ 'A1' is upper }}{{ 1 is lt 2 }}
{{ 1 is equalto 1 and 2 is gt 1 }}{{ x is not defined }}{{ not x is defined }}
{{ 1 is string is string }}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.nope }};{% endfor %}{{ i }}
{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }}{% for j in 'xy' %}{{ loop.depth }}{{ j }}{% endfor %}{% else %}none{% endfor %}
{% for i in [] %}x{% else %}none{% endfor %}{% for i in [1, 2, 3] if i != 2 %}{{ loop.length }}{{ i }}{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% if i == 3 %}{% break %}{% endif %}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set x = 1 %}{% for i in l %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
{% set ns = namespace(a=1, b=[]) %}{% for i in l %}{% set ns.a = ns.a + i %}{% set ns.c = i %}{% endfor %}{{ ns.a }}{{ ns.c }}{{ ns.zz }}{{ ns['a'] }}{{ ns }}
{% set ns = namespace({'q': 1}, r=2) %}{{ ns.q }}{{ ns.r }}
{% set d.x = 1 %}
{% macro f(a, b=a ~ '!', c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ f() }}{{ f(1) }}{{ f(1, c=2) }}{{ f(b=1, a=2) }}{{ f(1)|upper }}{{ f }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(z=2) }}
{% macro f(x) %}{{ caller(x, 2) }}{{ caller is defined }}{% endmacro %}{% call(p, q=5) f(1) %}<{{ p }}{{ q }}>{% endcall %}
{% macro f(x) %}{{ caller(x, 2) }}{% endmacro %}{{ f(1) }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro f() %}{{ y }}{% endmacro %}{% set y = 3 %}{{ f() }}{% for y in [4] %}{{ f() }}{% endfor %}
{% set x %}a{{ 1 }}{% set y = 2 %}{% endset %}{{ x }}{{ y }}{% set x | upper | replace('A', 'b') %}a{% endset %}{{ x }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, e) = 'xy' %}{{ c }}{{ e }}{% set a = 1, %}{{ a }}
{% generation %}{% set z = 1 %}{{ z }}{% endgeneration %}{{ z }}{% for i in l %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}{% endfor %}
{% if true -%}   a   {%- endif %}  b  {{- ' c ' -}}  d {#- e -#} f {# g #}`h`  {% if true %}`  i`  {%+ if true %}j{% endif +%}`{% endif %}`k
{% raw %}{{ x }}{% if %}{# #}{% endraw %}`{%- raw -%} {{ {%- endraw -%} `z``
  {% if true %}  `  x`  {% endif %}  `  {{ 'y' }}  ``  {# c #}  `z`
{{ {'a': {'b': 1}}.a.b }}{{ {} }}{{ [[]] }}{{ ({'a': 1}) }}{{ '}}' }}{{ "%}" }}
{{ strftime_now('%d %B %Y %H:%M:%S %a %j %%') }}
{{ raise_exception('no ' ~ a) }}
{{ 'x'|nope }}
{% include 'x' %}
{{ 1 | default }}{{ missing | default }}{{ none | default('x') }}{{ none | default('x', true) }}{{ '' | d('y', boolean=true) }}{{ '' | default }}
{{ dict(a=1, b=2) }}{{ dict([('x', 1)], y=2) }}{{ dict({'a': 1}, a=3) }}{{ dict() }}
{{ l + [4] }}{{ (1,) + (2,) }}{{ 'a' * 3 }}{{ [0] * 2 }}{{ 2 * 'ab' }}{{ 'a' * -1 }}{{ true + true }}{{ -true }}{{ +true }}{{ 'a' + 'b' ~ 1 + '2' }}
{{ 'a' + 'b' ~ 1 + 2 }}
{{ 'a' + 1 }}
{{ 1 / 0 }}
{{ [1] + (2,) }}
{{ 'a' in 'abc' }}{{ '' in '' }}{{ 'k' in d }}{{ 1 in [1.0] }}{{ [1] in nested }}{{ 'k' in d.keys() }}{{ ('k', 'v') in d.items() }}{{ 'v' in d.values() }}
{{ 1 in 'abc' }}
{{ [1] in d }}
{{ 1 < 'a' }}
{{ none < 1 }}
"""


def cases():
    return [record(line.replace("`", "\n")) for line in CASES.split("\n") if line]
