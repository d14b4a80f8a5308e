"""Small templates, one property each. Left out is what Kinglet does on purpose otherwise: whole numbers above 64 bits are an
error, functions and generators print without an address, and a target may be a tuple of one name."""

VARIABLES = {
    "a": 1, "b": 2.5, "s": "Hello Wörld", "l": [3, 1, 2], "d": {"x": 1, "y": "z", "items": 5}, "n": None, "t": True,
    "msgs": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo", "k": 1},
             {"role": "user", "content": "bye"}],
    "u": "ß ﬁ İ Σίσυφος", "e": "", "deep": {"a": {"b": [1, {"c": "!"}]}},
}

EXPRESSIONS = r'''
a + b
a + 1
-a|abs
(-a)|abs
2 ** 3 ** 2
7 // 2
-7 // 2
-7 % 3
7 % -3
7.5 // 2
1/3
10/2
1e16
1e15
123456789.123
0.0001
0.00001
1e22
1.5e-7
100000000000000000000.0
2**62
s|upper
s|lower
s|title
s|length
s[0]
s[-1]
s[1:4]
s[::-1]
s[10:2:-2]
s[-3:]
s[:-3]
l|sort
l|sort(reverse=true)
l|sum
l|max
l|min
l|first
l|last
l|join(', ')
l|reverse|list
l|length
l[5]
l[-1]
l[1:]
d.x
d['y']
d['items']
d.items()
d.items()|list
d.keys()
d.keys()|list
d.values()|list
d.get('x')
d.get('q')
d.get('q', 7)
d
l
(1,)
(1,2)
()
[1,[2,'x',none,true,1.0]]
{'a':1,'b':[1,2]}
{'a':1}['a']
n
t
t + 1
not t
a == 1
a == 1.0
a == true
s == 'x'
a in l
5 in l
'x' in d
'ell' in s
'q' not in s
1 < 2 < 3
1 < 3 < 2
a if t else b
(a if false)
missing
missing|default('z')
missing is defined
a is defined
e|default('z')
e|default('z', true)
n|default('z')
d is mapping
l is iterable
s is string
s is iterable
l is sequence
d is sequence
a is number
b is float
a is integer
t is boolean
t is integer
t is number
a is odd
a is even
a is divisibleby 1
a is eq 1
a is equalto(1)
s is not none
n is none
n is not none and a
a is in l
a is in [1,2]
s ~ a ~ b ~ n ~ t
s + a
a ~ l
msgs|map(attribute='role')|list
msgs|map(attribute='role')|join(',')
msgs|selectattr('role','equalto','user')|list
msgs|selectattr('role','equalto','user')|map(attribute='content')|join('|')
msgs|rejectattr('role','eq','user')|list|length
msgs|selectattr('k')|list
msgs|selectattr('k','defined')|list
msgs|groupby('role')
msgs|groupby('role')|map('first')|list
msgs|map(attribute='k', default=9)|list
msgs|map('length')|list
l|map('string')|list
l|select('odd')|list
l|reject('odd')|list
l|select('greaterthan', 1)|list
l|batch(2)|list
l|batch(2, 0)|list
l|slice(2)|list
l|unique|list
[1,1,2]|unique|list
['b','A','a']|sort
['b','A','a']|sort(case_sensitive=true)
['b','A','a']|unique|list
d|dictsort
d|items|list
d|tojson
d|tojson(indent=2)
msgs|tojson
msgs|tojson(indent=4)
s|tojson
u|tojson
u|tojson(ensure_ascii=true)
[1,2]|tojson(separators=(',',':'))
{'b':1,'a':2}|tojson(sort_keys=true)
{1:2,true:3,none:4}|tojson
[]|tojson
{}|tojson(indent=2)
[1.0,1e100,none,true]|tojson
"a\"b\\c\n\t\x07é"|tojson
u|upper
u|lower
u|title
u|capitalize
s|capitalize
s.upper()
s.split()
s.split('l')
s.split('l',1)
s.rsplit('l',1)
'a,b,,c'.split(',')
'  a  b '.split()
'  a  b  c '.split(none,1)
'  a  b  c '.rsplit(none,1)
'  x '.strip() ~ '|'
'xxaxx'.strip('x')
'xxaxx'.lstrip('x')
'xxaxx'.rstrip('x')
' x '|trim ~ '|'
'xxaxx'|trim('x')
s.startswith('He')
s.startswith(('x','He'))
s.endswith('d')
s.replace('l','L')
s.replace('l','L',1)
s|replace('l','L')
'aaa'|replace('','-')
s.find('o')
s.rfind('o')
s.find('zz')
s.index('zz')
s.count('l')
s.title()
s.capitalize()
s.swapcase()
'abc'.isalpha()
'12'.isdigit()
'Ab'.isupper()
'AB'.isupper()
'5'.zfill(3)
'-5'.zfill(4)
'x'.ljust(3) ~ '|'
'x'.rjust(3) ~ '|'
'x'.center(4) ~ '|'
'ab'.center(5) ~ '|'
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.removeprefix('a')
'abc'.removesuffix('c')
'a\nb\r\nc'.splitlines()
'a\nb'.splitlines(true)
', '.join(['a','b'])
', '.join([1])
'{} {}'.format(1,'x')
'{0} {name}'.format(1,name=2)
'{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}'.format(1,2,3,4,5.678,1234567)
'{a[x]}'.format(a=d)
'{!r}'.format('x')
'{{}}'.format()
'%s %d %.2f %5s|%-5s|%05d %x %%' % ('a',3,2.5,'r','l',42,255)
'%s' % 'x'
'%s' % l
'%(x)s' % d
"%s-%s"|format(1,2)
'a\nb\n\nc'|indent
'a\nb\n\nc'|indent(2)
'a\nb\n\nc'|indent(2,true)
'a\nb\n\nc'|indent(2,blank=true)
'a\nb'|indent('>>')
'foo bar baz'|truncate(7)
'foo bar baz'|truncate(7,true)
'foo bar baz qux quux'|truncate(9,false,'..',0)
'foo bar'|center(20) ~ '|'
'foo bar-baz x_y'|wordcount
'a b&c/d'|urlencode
'<a href="x">\'&'|escape
'<b>'|safe
'<b>'|e
'42'|int
'42.7'|int
'x'|int
'x'|int(5)
'0x1A'|int(0,16)
'1_000'|int
' 7 '|int
3.99|int
-3.99|int
'3.5'|float
'x'|float
'x'|float(1.5)
3|float
3.14159|round(2)
2.5|round
3.5|round
2.675|round(2)
42|round
3.2|round(0,'ceil')
3.7|round(method='floor')
1234|round(-2)
true|string
none|string
[1]|string
'abc'|list
d|list
'abc'|first
'abc'|last
'abc'|reverse
[]|first
[]|last
[]|max
[]|sum
['a','b']|sum(start='')
range(5)|list
range(2,8,2)|list
range(5,0,-1)|list
range(5)
range(0,6,2)
range(3)|length
range(3)[1]
range(100001)|list
dict(a=1,b=2)
dict([('a',1)])
dict(d)
namespace(a=1)
namespace(a=1).a
cycler('a','b').next()
joiner('|')()
deep.a.b[1].c
deep['a']['b'][0]
deep.a.q.z
deep.a.q
missing.x
missing['x']
missing + 1
missing ~ 'x'
missing|upper
missing|length
missing|list
missing|join(',')
missing|tojson
missing == missing
missing is iterable
missing == none
missing < 1
missing in l
'x' in missing
n.x
n['x']
n.x.y
l.append(4)
d.update({})
d.pop('x')
l.index(1)
l.index(9)
l.count(1)
(1,2).count(1)
s.nope
s.nope()
s()
a()
nope()
nofilter|nope
a is nope
s.__class__
d.__class__
(1,2)+(3,)
[1]+[2]
[1]+(2,)
[1]*3
'ab'*3
3*'ab'
'a'*-1
[1,2]==[1,2]
(1,2)==[1,2]
[1,2]<[1,3]
'a'<'b'
'a'<1
n<1
true+true
5 is divisibleby(0)
1/0
1//0
1%0
1.0%0
{'a':1}=={'a':1.0}
{[1]:2}
d[[1]]
l['x']
l[1.0]
s['x']
a.x
a['x']
'a' 'b'
"\u00e9\x41\101\n|"
'\q'
1_000
0x1f
0b11
0o17
1.5e3
.5
a.0
l.0
l.1
x is defined and x
'' or 'x'
'' and 'x'
none or false
0 or []
not missing
-'x'
+a
- a
1 - -1
1--1
a|string|length
(a,b)|first
l is sameas l
a is sameas 1
1 is sameas 1.0
1 is sameas true
n is sameas none
t is true
t is false
1 is true
'abc' is lower
'ABC' is upper
range is callable
s is callable
'upper' is filter
'nope' is filter
'odd' is test
a is not divisibleby 2
a is defined if true else 2
d|length
d|first
n|length
5|length
5|list
n|list
n|join
s|join('-')
s|batch(3)|list
[[1,2],[3,4]]|sum(start=[])
[[1,2],[3,4]]|map('first')|list
[[1,2],[3,4]]|map(attribute=1)|list
[{'a':{'b':1}}]|map(attribute='a.b')|list
[{'a':2},{'a':1}]|sort(attribute='a')
[{'a':2,'b':1},{'a':1,'b':2},{'a':1,'b':1}]|sort(attribute='a,b')
[{'a':2},{'a':1}]|max(attribute='a')
[3,'a']|sort
[none,1]|sort
l|map('nope')|list
d|attr('x')
l|map('string')|length
l|map('string')|first
d.items()|length
d.values()
1 if missing
[1,2,3][1:][0]
'abc'|upper|lower|length + 1
a if a else b if b else 3
(1 if false else 2) if true else 3
[a, b,]
{'a': 1,}
(1, 2,)|length
d['x'] + l[0] * 2 - 1
not a == 1
not (a == 1) or t
l|length > 2 and s
l|length - 1
'%d' % 3.7
'%d' % 'x'
'%s %s' % ('a',)
'%s' % ('a','b')
'%q' % 1
'{'.format()
'{}'.format()
'{:d}'.format('x')
'{:s}'.format(1)
'{:x}|{:X}|{:b}|{:e}|{:g}|{:%}|{:+}'.format(255,255,5,12345.678,0.0001,0.5,3)
'{:10.3}|'.format('abcdef')
'{:*^9}'.format('mid')
3.0
-0.0
0.1+0.2
1e300*1e10
100.0
1.0e5
9223372036854775807
'a' ~ 'b' * 2
2 * 3 ~ 4
1 + 2 ~ 3
-2 ** 2
2 ** -1
'é' < 'z'
'🙂'|length
'🙂x'[0]
'🙂'|tojson(ensure_ascii=true)
'\u2028'|tojson
'a\x85b\u2028c'.splitlines()
'\xa0 x\u3000'|trim
'\xa0x'.split()
['a\'b', 'a"b', 'a\'"b', 'a\\b', '\n\t\r', '\x00\x7f\u200b\xad', 'é🙂']
raise_exception('no')
'''.strip("\n").split("\n")

STATEMENTS = [
"{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{loop.depth}}{{loop.depth0}};{% endfor %}",
"{% for x in l %}{{ loop.previtem }}<{{x}}>{{ loop.nextitem }},{{ loop.previtem is defined }}{% endfor %}",
"{% for x in l %}{{ loop.cycle('a','b') }}{{ loop.changed(x > 1) }}{% endfor %}",
"{% for x in [] %}x{% else %}none{% endfor %}|{% for x in missing %}x{% else %}none{% endfor %}",
"{% for k, v in d.items() %}{{k}}={{v}},{% endfor %}{% for k, v in d|dictsort %}{{k}}={{v}},{% endfor %}{% for k in d %}{{k}}{% endfor %}",
"{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}",
"{% for x in l if x > 9 %}{{x}}{% else %}E{% endfor %}",
"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}",
"{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{x}}{{y}} {{loop.depth}} {% endfor %}{% endfor %}",
"{% set x = 1 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
"{% set ns = namespace(v=0) %}{% for i in l %}{% set ns.v = ns.v + i %}{% endfor %}{{ ns.v }}{{ ns }}",
"{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}",
"{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, (d, e)) = (1, (2, 3)) %}{{c}}{{d}}{{e}}",
"{% set x %}a{{ a }}b{% endset %}{{ x }}|{% set y | upper | replace('B','-') %}abc{% endset %}{{ y }}",
"{% set x %}{% set q = 1 %}{{q}}{% endset %}{{ x }}{{ q }}",
"{% macro m(x, y=2, z=none) %}<{{x}}{{y}}{{z}}>{% endmacro %}{{ m(1) }}{{ m(1,3) }}{{ m(y=5,x=1) }}{{ m() }}",
"{% macro m(x) %}{{ caller() }}{{x}}{% endmacro %}{% call m(3) %}inner{{ a }}{% endcall %}",
"{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(x, y) m() %}{{x}}-{{y}}{% endcall %}",
"{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1,2,k=3) }}",
"{% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n-1) }}{% endif %}{% endmacro %}{{ r(5) }}",
"{% macro m() %}{{ y }}{% endmacro %}{% set y = 7 %}{{ m() }}",
"{% macro m(a=1, b=a+1) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}{{ m(5) }}",
"{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
"{% macro a1() %}{{ b1() }}{% endmacro %}{% macro b1() %}B{% endmacro %}{{ a1() }}",
"{% macro m(x) %}{% set x = x + 1 %}{{ x }}{% endmacro %}{{ m(1) }}{{ x }}",
"{% filter upper %}abc{{ s }}{% endfilter %}{% filter replace('a','b')|upper %}aaa{% endfilter %}",
"{% with x = 1, y = 2 %}{{ x }}{{ y }}{% set z = 3 %}{% endwith %}{{ x }}{{ z }}",
"{% generation %}abc{{ a }}{% endgeneration %}x",
"{% for m in msgs %}{% generation %}{{ m.content }}{{ loop.index }}{% endgeneration %}{% endfor %}",
"{% raw %}{{ a }}{% if %}{% endraw %}x",
"a {%- raw -%} x {%- endraw -%} b",
"{% raw %}\nx\n{% endraw %}\ny",
"{# comment #}x{#- c -#} y\n{# c #}\nz",
"a\n  {% if t %}\n  b\n  {% endif %}\nc\n",
"a\n  {%+ if t %}\n  b\n  {%+ endif %}\nc\n",
"a\n  {% if t +%}\n  b\n  {% endif +%}\nc\n\n",
"  {{- a -}}  \n {{ a }}\n\n",
"  {{ a }}\n  {# x #}\n  {{ a }}",
"{%- if t -%}\n x \n{%- endif -%}\n y",
"a {% if t %} b {% endif %} c",
"a\n{% if t %}{% endif %}{{ a }}\n {% if t %}\n{% endif %}",
"x\r\ny\rz\r\n",
"{{ 'a\r\nb' }}",
"\n\n{% if t %}\n\nx\n\n{% endif %}\n\n",
"{{ '}}' }}{{ {'a': {'b': 1}} }}{{ '%}' }}",
"{% if n is none and t %}1{% elif a %}2{% else %}3{% endif %}",
"{% if false %}1{% elif a == 1 %}2{% else %}3{% endif %}",
"{% if not t %}1{% else %}3{% endif %}",
"{% print a, 2 %}{% print a %}",
"{{ a, 2 }}",
"{% for x in 1, 2, 3 %}{{ x }}{% endfor %}{% for x in (1,2) %}{{x}}{% endfor %}",
"{% for x, y in [[1],[2]] %}{{ x }}{% endfor %}",
"{% for c in 'abc' %}{{ c }}.{% endfor %}",
"{% for x in 5 %}{% endfor %}",
"{% for x in none %}{% endfor %}",
"{% set g = l|map('string') %}{{ g|join(',') }}{{ g|join(',') }}",
"{% set c = cycler('a','b') %}{% for x in l %}{{ c.next() }}{{ c.current }}{% endfor %}{{ c.reset() }}",
"{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
"{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}{{ ns.y }}{{ ns['x'] }}",
"{% set d.x = 1 %}",
"{% set q.x = 1 %}",
"{% set messages = msgs[1:] %}{{ messages|length }}{% for m in messages %}{{ m.role }}{% endfor %}",
"{% for m in msgs[::-1] %}{{ loop.index }}{{ m.content }}{% endfor %}",
"{% for m in msgs|reverse %}{{ m.content }}{% endfor %}",
"{% for g, items in msgs|groupby('role') %}{{ g }}{{ items|length }}{% endfor %}{% for g in msgs|groupby('role') %}{{ g.grouper }}{{ g.list|length }}{% endfor %}",
"{% if a == 1 %}{% set f = 'x' %}{% endif %}{{ f }}",
"{% for x in l %}{% if loop.first %}{% set f = 'x' %}{% endif %}{{ f }}{% endfor %}",
"{% unknown %}", "{% if a %}", "{% endfor %}", "{{ a", "{% for x in l %}{% endif %}", "{{ }}", "{% if %}{% endif %}", "{{ a b }}", "{{ (a }}", "{{ a) }}", "{{ [1, 2 }}", "{{ 'abc }}", "{{ a | }}", "{{ a.}}", "{{ $ }}", "{# x", "{% raw %}x", "{% set = 1 %}", "{% set true = 1 %}", "{% macro %}{% endmacro %}", "{% break %}", "{% macro m(a=1,b) %}{% endmacro %}", "{{ f(a=1, 2) }}", "{{ f(*l, *l) }}", "{{ a is }}", "{{ a is defined is string }}", "{% else %}", "{% block x %}{% endblock %}{% include 'x' %}", "{% do l.append(1) %}",
"{{ range(*[1,4])|list }}{{ dict(**{'a':1}) }}",
"{% macro m(x, y) %}{{x}}{{y}}{% endmacro %}{{ m(*[1,2]) }}{{ m(**{'x':1,'y':2}) }}{{ m(1, **{'y':2}) }}",
"{{ m() }}{% macro m() %}x{% endmacro %}",
"{{ l|length }}{% set l = [] %}{{ l|length }}",
"{{ '' }}\n", "", "\n", "x\n\n", "{{ 'x' }}\n\n",
"{%- for m in msgs %}\n  {%- if loop.index0 % 2 == 0 %}\n{{- m.content -}}\n  {%- endif %}\n{%- endfor %}",
"{{ '%s' % 'a' }}{{ 'a%%b' % () }}",
"{{ ('a' if t) ~ ('b' if not t) }}",
"{{ msgs[0].content.split('i')[0] + msgs[-1]['content'] }}",
"{{ msgs[0]['nope'] }}|{{ msgs[7] }}|{{ msgs[0].nope.x }}",
"{{ msgs[0].content is string and msgs[0].tool_calls is not defined }}",
"{{ 'tool_calls' in msgs[0] or msgs[1].k }}",
"{%if t%}x{%endif%}{{a}}{{-a-}}{%-if t-%}y{%-endif-%}",
"a{#-#}b", "a {{- 'x' }} {{ 'y' -}} b",
"{% set x = a if t %}{{ x }}{% set y = a if not t %}[{{ y }}]",
"{% for x in l -%}\n {{ x }}\n{%- endfor %}",
"\t{% if t %}\n\tx\n\t{% endif %}\n",
"\xa0{% if t %}y{% endif %}", "x\n\xa0 {% if t %}y{% endif %}","x \u3000 {%- if t %}y{% endif %}",
"{{ a }}{% if t %}\n\n{% endif %}\n{{ a }}",
"{% if t %}\n{{ a }}\n{% endif %}{{ a }}",
"{{ \"it's\" }}{{ 'say \"x\"' }}",
"{{ s[1] }}{{ s[-1:] }}{{ s[:2] }}{{ s[5:] }}{{ s[::2] }}",
"{% set m = namespace(x=[]) %}{% for i in l %}{% set m.x = m.x + [i] %}{% endfor %}{{ m.x }}",
"{% macro t(v) -%}\n{%- if v is mapping -%}{\n{%- for k in v -%}{{k}}:{{ t(v[k]) }}{%- if not loop.last -%},{%- endif -%}{%- endfor -%}}\n{%- elif v is string -%}'{{v}}'\n{%- else -%}{{v}}{%- endif -%}\n{%- endmacro -%}{{ t({'a':{'b':1,'c':'x'},'d':none}) }}",
"{% call f() %}x{% endcall %}", "{{ caller() }}",
"{{ a.__class__.__mro__ }}", "{{ ''.__class__ }}", "{{ range.__globals__ }}","{{ s.format.__self__ }}",
"{% set ns = namespace(a=1) %}{{ ns.__class__ }}",
"{{ loop }}",
"{% for x in range(3) %}{{ x }}{% endfor %}{% for x in range(1, 2+2) %}{{ x }}{% endfor %}",
"{% for row in l|batch(2) %}{{ row|join('-') }};{% endfor %}",
"{{ l | sort | join(',') }}{{ l|sort(reverse=True)|first }}",
"{% if 'a' in s and s|length == 3 or missing %}ok{% endif %}",
"{% if (msgs|selectattr('role','equalto','tool')|list|length) == 0 %}no tools{% endif %}",
"{{ msgs|selectattr('role','in',['user','tool'])|list|length }}",
"{{ (msgs|last).content }}{{ (msgs|first)['role'] }}",
"{% set loop_messages = msgs %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{{ message['content'] | trim }}{% endfor %}",
]
