"""A bundle on a store that keeps a part of it after a failure, as Redis does."""

import pytest
from support.bundles import account, text

from service.bundle.apply import InitBundle, SharedTarget
from service.bundle.source import BundleFile
from service.errors import Invalid, StoreUnavailable
from service.mounted_files import MountedFiles
from service.resources.repository import Repository
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.stores.memory import EmbeddedStore


class FailingStore(EmbeddedStore):
    """Writes to the account ``b`` fail with ``error``."""

    error = None

    async def replace(self, kind, id, fields, **options):
        if self.error and id == "b":
            raise self.error
        return await super().replace(kind, id, fields, **options)

    def regions(self):
        return {id_: stored.fields["region"] for id_, stored in self._kinds.get("AwsAccount", {}).items()}


@pytest.fixture
def store():
    return FailingStore()


@pytest.fixture
async def change(store, tmp_path, silent_audit):
    """Replaces the file of a followed bundle by one with these regions of the accounts ``a`` and ``b``."""
    path, files = tmp_path / "bundle.json", MountedFiles()
    repository = Repository(store, SecretCodec(Encryptor(), Hasher()))
    bundle = InitBundle(BundleFile(path, {}), repository, SharedTarget(repository), silent_audit)
    files.follow("SIGNER_INIT_BUNDLE", bundle.read, bundle.use)

    async def changed(region):
        path.write_text(text(*(account(id_, region=region) for id_ in "ab")))
        for _ in range(2):
            await files.check()
        return files.warnings()

    return changed


@pytest.mark.parametrize("error", [StoreUnavailable("lost"), Invalid("AwsAccount/b has changed")])
async def test_the_bundle_before_a_half_applied_one_is_applied_again(store, change, error):
    await change("us-east-1")
    store.error = error
    warnings = await change("eu-west-1")
    half = store.regions()
    store.error = None

    assert (half, len(warnings)) == ({"a": "eu-west-1", "b": "us-east-1"}, 1)
    assert await change("us-east-1") == []
    assert store.regions() == {"a": "us-east-1", "b": "us-east-1"}
