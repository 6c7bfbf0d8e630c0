"""As much of C++ as the style rules need: text without comments, includes, function bodies."""

import re

# Comments, raw strings, strings, characters (not digit separators), preprocessor lines.
_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/'
    r'|(?:\b(?:u8|[uUL])?R"(?P<delimiter>[^\s()\\]{0,16})\((?:.*?)\)(?P=delimiter)")'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)
_DIRECTIVE = re.compile(r'^[ \t]*#(?:[^\n\\]|\\.)*', re.MULTILINE | re.DOTALL)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
_ACCESS = re.compile(r'^(?:(?:public|private|protected)\s*:\s*)+')
_SCOPE = re.compile(r'(?:inline\s+)?namespace\b|(?:typedef\s+)?(?:class|struct|union|enum)\b'
                    r'|extern\s*""\s*$')


def _keep_lines(text):
    return re.sub(r'[^\n]', ' ', text)


def without_comments(text):
    """The same text and line numbers, comments blank."""
    return _TOKEN.sub(lambda m: _keep_lines(m[0]) if m[0].startswith('/') else m[0], text)


def without_comments_and_strings(text):
    """The same line numbers; strings are empty, comments and preprocessor lines blank."""
    def replace(match):
        if match[0].startswith('/'):
            return _keep_lines(match[0])
        return '""' + '\n' * match[0].count('\n')
    return _DIRECTIVE.sub(lambda m: _keep_lines(m[0]), _TOKEN.sub(replace, text))


def includes(text):
    """(line, path, in angle brackets) of each include that is not in a comment."""
    code = without_comments(text)
    return [(code.count('\n', 0, m.start()) + 1, m[2], m[1] == '<')
            for m in _INCLUDE.finditer(code)]


def _without_template(head):
    head = _ACCESS.sub('', head.strip())
    while match := re.match(r'template\s*<', head):
        depth, end = 1, match.end()
        while end < len(head) and depth:
            depth += {'<': 1, '>': -1}.get(head[end], 0)
            end += 1
        head = head[end:].lstrip()
    return head


def _kind(head):
    """What a brace opens at namespace or class level, from the text before it."""
    head = _without_template(head)
    if _SCOPE.match(head):
        return 'scope'
    if '(' in head and not head.endswith('='):
        return 'function'
    return 'data'


def functions(text):
    """(first line, last line, heading) of every function that is not inside another one."""
    code = without_comments_and_strings(text)
    found, stack = [], []
    start = 0  # of the declaration that is being read
    opened = None  # position of the function's first word, while inside its body
    for match in re.finditer(r'[{};]', code):
        position, char = match.start(), match[0]
        if char == '{':
            inside = any(kind != 'scope' for kind in stack)
            kind = 'inner' if inside else _kind(code[start:position])
            if kind == 'function' and opened is None:
                opened = start + len(code[start:position]) - len(code[start:position].lstrip())
            stack.append(kind)
            start = position + 1 if not inside and kind == 'scope' else start
        elif char == '}':
            if stack and stack.pop() == 'function':
                # A braced member initialiser, not the body, if a comma or a brace comes next.
                if code[position + 1:position + 200].lstrip()[:1] not in (',', '{'):
                    first = code.count('\n', 0, opened) + 1
                    heading = ' '.join(code[opened:code.index('{', opened)].split())
                    found.append((first, code.count('\n', 0, position) + 1, heading))
                    opened = None
            if opened is None and all(kind == 'scope' for kind in stack):
                start = position + 1
        elif all(kind == 'scope' for kind in stack):
            start, opened = position + 1, None
    return found
