"""Shell completion, made from the parser itself: what can be typed is what is offered."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["none", "text", "file", "dir", "choice"]
PROGRAM: Final = "photosearch"
FILES: Final = ("FILE", "PATH")


@dataclass(frozen=True)
class Argument:
    """An option, or where `flags` is empty a word by its position."""

    flags: tuple[str, ...]
    kind: Kind  # of the value it takes
    choices: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class Command:
    """One command, by the words that lead to it; the program itself has none."""

    path: tuple[str, ...]
    about: str
    arguments: tuple[Argument, ...]
    children: tuple[tuple[str, str], ...]  # name, about

    @property
    def key(self) -> str:
        """`photosearch/bundle/list`: what the scripts call the place they are at."""
        return "/".join((PROGRAM, *self.path))

    @property
    def options(self) -> list[Argument]:
        return [each for each in self.arguments if each.flags]

    @property
    def position(self) -> Argument | None:
        """The first word by position that can be completed."""
        return next((each for each in self.arguments if not each.flags), None)

    @property
    def words(self) -> list[tuple[str, str]]:
        """Everything that can be typed literally after the command, with what it is."""
        position = self.position
        choices = [(choice, "") for choice in position.choices] if position else []
        flags = [(flag, option.about) for option in self.options for flag in option.flags]
        return [*self.children, *choices, *flags]


def commands(parser: ArgumentParser) -> list[Command]:
    """The program and every command below it."""
    return list(_walk(parser, (), ""))


def _walk(parser: ArgumentParser, path: tuple[str, ...], about: str) -> Iterator[Command]:
    arguments: list[Argument] = []
    below: list[tuple[str, ArgumentParser, str]] = []
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            below += [(name, each, helps.get(name, "")) for name, each in action.choices.items()]
        elif action.help != SUPPRESS:
            arguments.append(_argument(action))
    children = tuple((name, text) for name, _, text in below)
    yield Command(path, about, tuple(arguments), children)
    for name, each, text in below:
        yield from _walk(each, (*path, name), text)


def _argument(action: Action) -> Argument:
    choices = tuple(map(str, action.choices or ()))
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    kind: Kind = "text"
    if action.nargs == 0:
        kind = "none"
    elif choices:
        kind = "choice"
    elif "DIR" in metavar:
        kind = "dir"
    elif metavar in FILES:
        kind = "file"
    return Argument(tuple(action.option_strings), kind, choices, action.help or "")


# --- what every script needs ------------------------------------------------------------------


def _taking(all_commands: list[Command]) -> list[tuple[str, Argument]]:
    """`photosearch/serve --port`: options that take the next word as their value."""
    return [
        (f"{command.key} {flag}", option)
        for command in all_commands
        for option in command.options
        if option.kind != "none"
        for flag in option.flags
    ]


def _leading(all_commands: list[Command]) -> list[str]:
    """`photosearch serve`: words that lead to another command."""
    return [f"{command.key} {name}" for command in all_commands for name, _ in command.children]


def single(text: str) -> str:
    """In single quotes, for sh, bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def single_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def single_powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _or(words: list[str]) -> str:
    return "|".join(map(single, words))


# --- bash -------------------------------------------------------------------------------------

BASH: Final = """\
# bash completion for photosearch. Once:
#   photosearch completion bash > ~/.local/share/bash-completion/completions/photosearch
_photosearch() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" place=photosearch option="" word
    local IFS=$'\\n'
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [[ -n $option ]]; then option=""; continue; fi
        case "$place $word" in
            {values}) option="$word" ;;
            {paths}) place="$place/$word" ;;
        esac
    done
    COMPREPLY=()
    if [[ -n $option ]]; then
        case "$place $option" in
            {option_cases}
        esac
        return
    fi
    case "$place" in
        {command_cases}
    esac
}}
complete -o filenames -F _photosearch photosearch
"""


def bash(all_commands: list[Command]) -> str:
    """Works with bash 3.2, which macOS has."""

    def offer(*what: str) -> str:
        return f'COMPREPLY=( $(compgen {" ".join(what)} -- "$cur") )'

    def listed(words: Iterable[str]) -> str:
        return "-W $'" + "\\n".join(words) + "'"

    def value(argument: Argument) -> str:
        how = {"dir": ["-d"], "file": ["-f"], "choice": [listed(argument.choices)]}
        return offer(*how[argument.kind]) if argument.kind in how else ":"

    command_cases = []
    for command in all_commands:
        kind = command.position.kind if command.position else "none"
        paths = {"dir": ["-d"], "file": ["-f"]}.get(kind, [])
        words = [word for word, _ in command.words]
        command_cases.append(f"{single(command.key)}) {offer(*paths, listed(words))} ;;")
    taking = _taking(all_commands)
    return BASH.format(
        values=_or([key for key, _ in taking]),
        paths=_or(_leading(all_commands)),
        option_cases=_lines(12, [f"{single(key)}) {value(option)} ;;" for key, option in taking]),
        command_cases=_lines(8, command_cases),
    )


def _lines(indent: int, lines: list[str]) -> str:
    return ("\n" + " " * indent).join(lines)


# --- zsh --------------------------------------------------------------------------------------

ZSH: Final = """\
#compdef photosearch
# zsh completion for photosearch. Once, into a folder of your fpath:
#   photosearch completion zsh > ~/.zfunc/_photosearch
_photosearch() {{
    local place=photosearch option="" word
    local -a items
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        if [[ -n $option ]]; then option=""; continue; fi
        case "$place $word" in
            {values}) option="$word" ;;
            {paths}) place="$place/$word" ;;
        esac
    done
    if [[ -n $option ]]; then
        case "$place $option" in
            {option_cases}
        esac
        return
    fi
    case "$place" in
        {command_cases}
    esac
    _describe photosearch items
}}
if [[ $funcstack[1] == _photosearch ]]; then
    _photosearch "$@"
else
    compdef _photosearch photosearch
fi
"""


def zsh(all_commands: list[Command]) -> str:
    def item(word: str, about: str) -> str:
        escaped = word.replace("\\", "\\\\").replace(":", "\\:")
        return single(f"{escaped}:{about}" if about else escaped)

    def value(argument: Argument) -> str:
        choices = " ".join(map(single, argument.choices))
        how = {"dir": "_files -/", "file": "_files", "choice": f"compadd -- {choices}"}
        return how.get(argument.kind, f"_message {single(argument.about)}")

    command_cases = []
    for command in all_commands:
        kind = command.position.kind if command.position else "none"
        paths = {"dir": "; _files -/", "file": "; _files"}.get(kind, "")
        items = " ".join(item(*each) for each in command.words)
        command_cases.append(f"{single(command.key)}) items=({items}){paths} ;;")
    taking = _taking(all_commands)
    return ZSH.format(
        values=_or([key for key, _ in taking]),
        paths=_or(_leading(all_commands)),
        option_cases=_lines(12, [f"{single(key)}) {value(option)} ;;" for key, option in taking]),
        command_cases=_lines(8, command_cases),
    )


# --- fish -------------------------------------------------------------------------------------

FISH: Final = """\
# fish completion for photosearch. Once:
#   photosearch completion fish > ~/.config/fish/completions/photosearch.fish
function __photosearch_at
    set -l place photosearch
    set -l option ""
    for word in (commandline -opc)[2..-1]
        if test -n "$option"
            set option ""
            continue
        end
        switch "$place $word"
            case {values}
                set option $word
            case {paths}
                set place $place/$word
        end
    end
    test "$place" = "$argv[1]"
end
complete -c photosearch -f
{lines}
"""


def fish(all_commands: list[Command]) -> str:
    def line(command: Command, *rest: str) -> str:
        condition = single_fish(f"__photosearch_at {command.key}")
        return " ".join(["complete -c photosearch -n", condition, *rest])

    def value(argument: Argument) -> list[str]:
        if argument.kind == "dir":
            return ["-a", "'(__fish_complete_directories)'"]
        if argument.kind == "file":
            return ["-F"]
        return ["-a", single_fish(" ".join(argument.choices))] if argument.choices else []

    lines: list[str] = []
    for command in all_commands:
        for name, about in command.children:
            lines.append(line(command, "-a", single_fish(name), "-d", single_fish(about)))
        if command.position:
            lines.append(line(command, *value(command.position)))
        for option in command.options:
            flags = [
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in option.flags
            ]
            takes = ["-r", *value(option)] if option.kind != "none" else []
            lines.append(line(command, *flags, *takes, "-d", single_fish(option.about)))
    return FISH.format(
        values=" ".join(single_fish(key) for key, _ in _taking(all_commands)),
        paths=" ".join(map(single_fish, _leading(all_commands))),
        lines="\n".join(lines),
    )


# --- PowerShell -------------------------------------------------------------------------------

POWERSHELL: Final = """\
# PowerShell completion for photosearch. Once, into your $PROFILE:
#   photosearch completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName photosearch -ScriptBlock {{
    param($wordToComplete, $commandAst, $cursorPosition)
    $values = @({values})
    $paths = @({paths})
    $place = 'photosearch'
    $option = ''
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object {{ $_.Extent.EndOffset -lt $cursorPosition }} |
        ForEach-Object {{ $_.ToString() }})
    foreach ($word in $words) {{
        if ($option) {{ $option = ''; continue }}
        if ($values -ccontains "$place $word") {{ $option = $word }}
        elseif ($paths -ccontains "$place $word") {{ $place = "$place/$word" }}
    }}
    $items = [ordered]@{{}}
    if ($option) {{
        switch -CaseSensitive ("$place $option") {{
            {option_cases}
        }}
    }}
    else {{
        switch -CaseSensitive ($place) {{
            {command_cases}
        }}
    }}
    $items.GetEnumerator() | Where-Object {{ $_.Key.StartsWith($wordToComplete) }} |
        ForEach-Object {{
            [System.Management.Automation.CompletionResult]::new(
                $_.Key, $_.Key, 'ParameterValue', $_.Value)
        }}
}}
"""


def powershell(all_commands: list[Command]) -> str:
    """Where nothing is offered, PowerShell offers files by itself."""

    def items(words: Iterable[tuple[str, str]]) -> str:
        # A tool tip must not be empty.
        rows = (f"{single_powershell(a)} = {single_powershell(b or a)}" for a, b in words)
        return f"{{ $items = [ordered]@{{ {'; '.join(rows)} }} }}"

    taking = [(key, option) for key, option in _taking(all_commands) if option.choices]
    return POWERSHELL.format(
        values=", ".join(single_powershell(key) for key, _ in _taking(all_commands)),
        paths=", ".join(map(single_powershell, _leading(all_commands))),
        option_cases=_lines(
            12,
            [
                f"{single_powershell(key)} {items([(choice, '') for choice in option.choices])}"
                for key, option in taking
            ],
        ),
        command_cases=_lines(
            12,
            [
                f"{single_powershell(command.key)} {items(command.words)}"
                for command in all_commands
            ],
        ),
    )


SHELLS: Final[dict[str, Callable[[list[Command]], str]]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
    "powershell": powershell,
}


def script(parser: ArgumentParser, shell: str) -> str:
    """The completion script of one shell."""
    return SHELLS[shell](commands(parser))
