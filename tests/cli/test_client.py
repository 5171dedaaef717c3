import shlex

from companion.cli.client import direct, line, variables


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
