#!/usr/bin/env python3
"""Checks the house rules that a program can check, and lists whatever breaks them.

    tests/style/check.py              every rule
    tests/style/check.py --rule NAME  one rule

Exit 0: nothing found; 1: offenders, one to a line; 77: the rule's tool is not installed.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

import cpp

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
TEST_FILE_LINES_MAX = 800

CODE_FOLDERS = ('src', 'bench', 'tests', 'examples')
TEXT_SUFFIXES = {'.h', '.cc', '.py', '.sh', '.md', '.proto', '.cmake', '.txt', '.json', '.toml',
                 '.in', '.yml', '.html', '.svg', '.gp', '.js'}
SKIPPED_FOLDERS = {'build', 'results', '.git', '.skein', '.cache', '__pycache__'}

# What the files of a folder may include of the project; the longest matching folder counts.
LAYERS = {
    'src/common': {'src/common'},
    'src/replication/core': {'src/common', 'src/replication/core'},
    'src/replication': {'src/common', 'src/replication/core', 'src/replication'},
    'src/replication/grpc': {'src/common', 'src/replication/core', 'src/replication',
                             'src/replication/grpc', 'proto'},
    'src/storage': {'src/common', 'src/replication/core', 'src/replication', 'src/storage',
                    'proto'},
    'src/server': {'src/common', 'src/replication/core', 'src/replication',
                   'src/replication/grpc', 'src/storage', 'src/server', 'proto'},
    'src/client': {'src/common', 'src/client', 'proto'},
    'src/cli': {'src/common', 'src/replication/core', 'src/replication', 'src/storage',
                'src/client', 'src/cli'},
}
# Standard headers that can block, tell the time, do I/O or draw randomness.
CORE_FORBIDDEN_HEADERS = {
    'thread', 'mutex', 'shared_mutex', 'condition_variable', 'future', 'semaphore', 'latch',
    'barrier', 'stop_token', 'atomic', 'chrono', 'ctime', 'time.h', 'random', 'fstream',
    'iostream', 'cstdio', 'stdio.h', 'filesystem', 'unistd.h'}
SLEEP = re.compile(r'\b(sleep_for|sleep_until|SleepFor|usleep|nanosleep)\b'
                   r'|(?<![\w.>])sleep\s*\(|\btime\.sleep\b')
# The one place where a test may let time pass: helpers that wait for a condition.
WAIT_HELPER = re.compile(r'tests/support/\w*wait\w*\.(h|cc|py)')
MACHINE_PATH = re.compile(r'(?<![\w.$}\])>~-])/(work|home|root|Users)/')


def files_of(root, folders, suffixes):
    """Paths relative to root, sorted; generated and fetched folders are left out."""
    found = []
    for folder in folders:
        top = root / folder
        for path in [top] if top.is_file() else sorted(top.rglob('*')):
            relative = path.relative_to(root)
            if (path.is_file() and path.suffix in suffixes
                    and not SKIPPED_FOLDERS & set(relative.parts)):
                found.append(relative)
    return found


def read(root, path):
    return (root / path).read_text(encoding='utf-8', errors='replace')


def code_files(root, folders=CODE_FOLDERS):
    return files_of(root, folders, {'.h', '.cc'})


def check_function_length(root, files):
    for path in files:
        for first, last, heading in cpp.functions(read(root, path)):
            if last - first + 1 > FUNCTION_LINES_MAX:
                yield (f'{path}:{first}: function of {last - first + 1} lines, at most '
                       f'{FUNCTION_LINES_MAX}: {heading[:70]}')


def check_file_length(root, files):
    for path in files:
        limit = TEST_FILE_LINES_MAX if path.parts[0] == 'tests' else FILE_LINES_MAX
        lines = read(root, path).count('\n')
        if lines > limit:
            yield f'{path}:1: {lines} lines, at most {limit}'


def layer_of(path):
    matching = [layer for layer in LAYERS if path.startswith(layer + '/')]
    return max(matching, key=len, default=None)


def target_layer(root, path, included):
    """The layer of an included file; None if it is not a file of the project."""
    if re.match(r'skein/v\d+/.*\.pb\.h$', included):
        return 'proto'
    for candidate in (f'src/{included}', f'src/client/include/{included}',
                      f'{path.parent}/{included}'):
        if (root / candidate).is_file():
            return layer_of(str(pathlib.PurePosixPath(candidate)))
    # Not there yet, or generated: judge by the name.
    return layer_of(f'src/{included}')


def check_include_arrows(root, files):
    for path in files:
        layer = layer_of(str(path))
        if layer is None:
            yield f'{path}:1: this folder has no place in the order of layers (tests/style/check.py)'
            continue
        for line, included, _ in cpp.includes(read(root, path)):
            target = target_layer(root, path, included)
            if target is not None and target not in LAYERS[layer]:
                yield f'{path}:{line}: {layer} must not include {target} ("{included}")'


def check_core_is_pure(root, files):
    for path in files:
        for line, included, angled in cpp.includes(read(root, path)):
            if target_layer(root, path, included) is not None:
                continue  # the arrows rule judges these
            is_standard = angled and re.fullmatch(r'\w+(\.h)?', included)
            if is_standard and included not in CORE_FORBIDDEN_HEADERS:
                continue
            if not included.startswith('absl/status/'):
                yield f'{path}:{line}: the core is pure and must not include {included}'


def check_rocksdb_only_in_storage(root, files):
    for path in files:
        if not str(path).startswith('src/storage/'):
            for line, included, _ in cpp.includes(read(root, path)):
                if included.startswith('rocksdb/'):
                    yield f'{path}:{line}: only src/storage includes {included}'


def check_client_headers(root, files):
    wire = re.compile(r'\b(grpc\w*|protobuf|\w+\.pb\.h|skein::v\d+)\b')
    for path in files:
        for number, line in enumerate(cpp.without_comments(read(root, path)).split('\n'), 1):
            if match := wire.search(line):
                yield f'{path}:{number}: a public client header names {match[0]}'


def check_no_sleep(root, files):
    for path in files:
        if WAIT_HELPER.fullmatch(str(path)):
            continue
        text = read(root, path)
        text = cpp.without_comments_and_strings(text) if path.suffix != '.py' else text
        for number, line in enumerate(text.split('\n'), 1):
            if match := SLEEP.search(line):
                yield (f'{path}:{number}: {match[0]} in a test: wait for the condition, with a '
                       f'helper of tests/support')


def check_no_machine_path(root, files):
    for path in files:
        for number, line in enumerate(read(root, path).split('\n'), 1):
            if MACHINE_PATH.search(line):
                yield f'{path}:{number}: a path of one machine: {line.strip()[:80]}'


def check_format(root, files):
    tool = shutil.which('clang-format')
    if tool is None:
        print('clang-format is not installed', file=sys.stderr)
        sys.exit(77)
    result = subprocess.run([tool, '--style=file', '--dry-run', '-Werror', '--ferror-limit=1',
                             *map(str, files)], cwd=root, capture_output=True, text=True)
    offenders = re.findall(r'^(\S+?:\d+):\d+: error', result.stderr, re.MULTILINE)
    if result.returncode != 0 and not offenders:
        yield result.stderr.strip()
    for offender in offenders:
        yield f'{offender}: not formatted; run clang-format -i on it'


def text_files(root):
    everywhere = (*CODE_FOLDERS, 'docs', 'scripts', 'cmake', 'proto', '.ci', 'CMakeLists.txt',
                  'CMakePresets.json', *(p.name for p in root.glob('*.md')))
    return files_of(root, everywhere, TEXT_SUFFIXES)


def all_code(root):
    return files_of(root, (*CODE_FOLDERS, 'proto', 'scripts'), {'.h', '.cc', '.py', '.sh', '.proto'})


# name: (the check, the files it looks at)
RULES = {
    'function-length': (check_function_length, code_files),
    'file-length': (check_file_length, all_code),
    'include-arrows': (check_include_arrows, lambda root: code_files(root, ('src',))),
    'core-is-pure': (check_core_is_pure, lambda root: code_files(root, ('src/replication/core',))),
    'rocksdb-only-in-storage': (check_rocksdb_only_in_storage,
                                lambda root: code_files(root, ('src',))),
    'client-headers': (check_client_headers,
                       lambda root: code_files(root, ('src/client/include',))),
    'no-sleep-in-tests': (check_no_sleep,
                          lambda root: [path for path in files_of(root, ('tests',),
                                                                  {'.h', '.cc', '.py'})
                                        if path.parts[1] != 'style']),
    'no-machine-path': (check_no_machine_path, text_files),
    'format': (check_format, code_files),
}


def offenders_of(rule, root):
    check, select = RULES[rule]
    files = select(root)
    if not files:
        return [f'{rule}: found no file to look at under {root}']
    return list(check(root, files))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rule', choices=RULES, help='only this rule')
    parser.add_argument('--root', type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2])
    options = parser.parse_args()
    found = []
    for rule in [options.rule] if options.rule else RULES:
        found += offenders_of(rule, options.root)
    print('\n'.join(found) if found else 'nothing to complain about')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
