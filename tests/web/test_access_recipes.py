"""The recipes of docs/security/access.md, executed as they are written."""

import re
import time

import pytest
import yaml
from documents import blocks, carry_out, examples
from issuer import SigningKey, key_set

PAGE = "docs/security/access.md"
RECIPES = ["A tenant behind a gateway", "A sidecar in Kubernetes", "A partner who only reads"]


@pytest.fixture
def issuer():
    return SigningKey("issuer", "ES256")


@pytest.fixture
def settings_of(tmp_path, issuer):
    """Return the settings of a recipe, with the issuer's key set in a file."""
    keys = tmp_path / "jwks.json"
    keys.write_bytes(key_set(issuer))

    def read(recipe):
        (block,) = (block for info, block in blocks(PAGE, recipe) if info == "sh")
        settings = dict(re.findall(r"^(SIGNER_\w+)=(.+)$", block, re.MULTILINE))
        return {name: str(keys) if name == "SIGNER_JWT_JWKS" else value for name, value in settings.items()}

    return read


def tokens_of(recipe, issuer):
    """Return the tokens whose claims a recipe shows, by their placeholders."""
    now = int(time.time())
    shown = [(found[0], block) for info, block in blocks(PAGE, recipe) if (found := re.search("<[a-z-]+>", info))]
    return {name: issuer.token({**yaml.safe_load(claims), "iat": now, "exp": now + 600}) for name, claims in shown}


@pytest.mark.parametrize("recipe", RECIPES)
async def test_a_recipe_allows_and_denies_as_documented(make_client, settings_of, issuer, recipe):
    client = await make_client(**settings_of(recipe))
    known = tokens_of(recipe, issuer)
    common, own = list(examples(PAGE, "Recipes")), list(examples(PAGE, recipe))

    statuses = {example.documented["status"] for example in own if "/aws/storage/" in example.path}
    assert statuses >= {200, 403}
    for example in [*common, *own]:
        await carry_out(client, example, known)


def test_every_recipe_is_tested():
    assert {example for recipe in ["Recipes", *RECIPES] for example in map(str, examples(PAGE, recipe))} == set(
        map(str, examples(PAGE))
    )
