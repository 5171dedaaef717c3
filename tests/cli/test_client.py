import shlex

import pytest

from companion.cli.client import direct, line, shell_of, usage, variables


def test_four_variables_are_set():
    assert variables("http://127.0.0.1:8080", own_credential=False) == {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080",
        "ANTHROPIC_AUTH_TOKEN": "companion",
        "API_TIMEOUT_MS": "600000",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def test_a_credential_of_the_users_own_is_left_alone():
    assert "ANTHROPIC_AUTH_TOKEN" not in variables("http://127.0.0.1:8080", own_credential=True)


def test_this_machine_is_added_to_what_no_proxy_has():
    assert direct({"NO_PROXY": "corp.example, localhost,"}) == {"NO_PROXY": "corp.example,localhost,127.0.0.1,::1"}


def test_so_is_the_host_that_is_asked():
    assert direct({}, "https://gateway.lan:8080") == {"NO_PROXY": "localhost,127.0.0.1,::1,gateway.lan"}
    assert direct({"NO_PROXY": "gateway.lan"}, "http://[2001:db8::1]:80") == {
        "NO_PROXY": "gateway.lan,localhost,127.0.0.1,::1,2001:db8::1"
    }


def test_no_proxy_that_was_not_set_is_set():
    assert direct({}) == {"NO_PROXY": "localhost,127.0.0.1,::1"}


def test_the_lower_case_name_is_kept_in_step_where_it_is_used():
    home = "localhost,127.0.0.1,::1"

    assert direct({"no_proxy": "a"}) == {"NO_PROXY": f"a,{home}", "no_proxy": f"a,{home}"}
    assert direct({"no_proxy": "a", "NO_PROXY": "b"}) == {"NO_PROXY": f"b,{home}", "no_proxy": f"a,{home}"}


def test_sh_reads_back_what_was_written():
    value = 'it\'s $HOME `x` \\ "quoted" *'

    assert shlex.split(line("A", value, "sh")) == ["export", f"A={value}"]


def test_fish_escapes_two_characters():
    assert line("A", r"it's \ all", "fish") == r"set -gx A 'it\'s \\ all'"


def test_powershell_takes_four_characters_for_a_quote():
    assert line("A", "it's \u2018 \u2019 \u201a \u201b $x `n", "powershell") == (
        "$env:A = 'it''s \u2018\u2018 \u2019\u2019 \u201a\u201a \u201b\u201b $x `n'"
    )


def test_cmd_takes_everything_in_quotes_as_it_is_and_has_no_way_to_write_a_quote():
    assert line("A", "a&b|c<d>e^f (g) %h% i", "cmd") == 'set "A=a&b|c<d>e^f (g) %h% i"'
    assert line("A", 'a" & del *', "cmd") == 'set "A=a & del *"'


@pytest.mark.parametrize(
    ("shell", "platform", "chosen"),
    [
        ("/usr/bin/fish", "linux", "fish"),
        ("/bin/zsh", "darwin", "sh"),
        ("/usr/bin/pwsh", "linux", "powershell"),
        ("", "linux", "sh"),
        ("", "win32", "powershell"),
        ("/usr/bin/bash", "win32", "sh"),
    ],
)
def test_the_shell_is_guessed_by_its_variable_and_the_system(shell, platform, chosen):
    assert shell_of({"SHELL": shell} if shell else {}, platform) == chosen


@pytest.mark.parametrize("shell", ["sh", "fish", "powershell", "cmd"])
def test_each_shell_has_a_way_to_use_it(shell):
    assert "companion env" in usage(shell)
    assert line("A", "b", shell).count("A") == 1
