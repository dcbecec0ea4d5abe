"""Secrets are reported by file and line without repeating them; false alarms pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.submit.package import pack
from nmt.orchestrator.submit.secret_scan import find_secret, known_secrets

from ._files import NONE, experiment, fill

# Assembled here, so that no scanner reports this file.
SECRETS = {
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow",
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "an AWS secret key": "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "a Google API key": "AIza" + "SyD-1234567890abcdefghijklmnopqrstu",
    "a GitHub token": "ghp_" + "a1" * 18,
    "a GitLab token": "glpat-" + "a1B2" * 5,
    "a Hugging Face token": "hf_" + "aB3" * 11,
    "a Slack token": "xoxb-" + "123456789012-abc",
    "an API key": "sk-ant-" + "a1b2" * 10,
    "a web token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmN",
    "a bearer token": "Authorization: Bearer " + "a1b2c3d4e5f6g7h8",
    "a secret value": 'password = "' + 'correct4horse9battery"',
    "an address with a password": "postgresql://me:" + "hunter22@db.example.com/mlflow",
}


@pytest.mark.parametrize("what", SECRETS)
def test_secrets_are_found_with_their_line(what: str) -> None:
    found = find_secret("a.py", f"first = 1\nx = '{SECRETS[what]}'\n".replace("'", "").encode(), {})
    assert found == f"seems to hold {what} (line 2)"


@pytest.mark.parametrize("name", [".env", "conf/.env.production", "id_ed25519", "server.pem", ".netrc", "auth_token"])
def test_files_of_secrets_are_found_by_name(name: str) -> None:
    assert find_secret(name, b"", {}) == "has the name of a file of secrets"


@pytest.mark.parametrize(
    "text",
    [
        "token = tokenizer.decode(ids)",
        "password = os.environ['PASSWORD']",
        "password: ${DATABASE_PASSWORD}",
        "http://host:5000/a@b",
        "postgresql://me:secret@db/mlflow",
        "secret = None",
        "api_key: str | None = None",
        "task-1234567890123456789012345678901234567890",
        "-----BEGIN CERTIFICATE-----\nMIIEow",
    ],
)
def test_false_alarms_pass(text: str) -> None:
    assert find_secret("a.py", text.encode(), {}) is None


def test_a_line_can_be_marked_as_harmless() -> None:
    secret = SECRETS["a GitHub token"]
    marked = f"x = '{secret}'  # pragma: allowlist secret\n"
    assert find_secret("a.py", marked.encode(), {}) is None
    assert find_secret("a.py", f"{marked}y = '{secret}'\n".encode(), {}) == "seems to hold a GitHub token (line 2)"


def test_secrets_of_the_environment_are_known(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-a-file-0123\n")
    environment = {
        "RAY_AUTH_TOKEN": "of-ray-012345",
        "RAY_AUTH_TOKEN_PATH": str(file),
        "MY_PASSWORD": "short",
        "HOME": "/home/somebody-else",
    }
    known = known_secrets(environment)
    assert known == {"RAY_AUTH_TOKEN": b"of-ray-012345", "RAY_AUTH_TOKEN_PATH": b"of-a-file-0123"}
    found = find_secret("a.py", b"x = 'of-a-file-0123'", known)
    assert found == "holds the value of the environment variable RAY_AUTH_TOKEN_PATH"


class TestAPackage:
    def test_with_secrets_is_refused_and_names_the_files(self, folder: Path) -> None:
        secret = SECRETS["a GitHub token"]
        fill(folder, {"own/__init__.py": "", "own/a.py": f"t = '{secret}'", "own/.env": "A=1", "own/b.py": ""})
        with pytest.raises(RequestError, match="nothing was sent") as refusal:
            pack(experiment(model={"name": "own:build"}), NONE)
        message = str(refusal.value)
        assert f"{folder}/own/a.py seems to hold a GitHub token (line 1)" in message
        assert f"{folder}/own/.env has the name" in message
        assert "b.py" not in message
        assert secret not in message

    def test_passes_once_the_file_is_ignored(self, folder: Path) -> None:
        fill(folder, {"own/__init__.py": "", "own/.env": "A=1", ".gitignore": ".env"})
        assert "own/.env" not in pack(experiment(model={"name": "own:build"}), NONE).files

    def test_holds_no_secret_of_the_environment(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef")
        fill(folder, {"own.py": "t = '0123456789abcdef'"})
        with pytest.raises(RequestError, match="environment variable RAY_AUTH_TOKEN") as refusal:
            pack(experiment(model={"name": "own:build"}), NONE)
        assert "0123456789abcdef" not in str(refusal.value)
