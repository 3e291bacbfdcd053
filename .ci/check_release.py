"""Check the distributions in a directory: their version, and that the wheel is the package and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What a user needs to build the wheel from the source distribution, and to read what it is.
NEEDED = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg")


def problems(directory: Path, version: str) -> Iterator[str]:
    """Yield a sentence for each fault."""
    names = {path.name for path in directory.iterdir()}
    wheel, source = f"s3_signer-{version}-py3-none-any.whl", f"s3_signer-{version}.tar.gz"
    if names != {wheel, source}:
        yield f"{directory} has {', '.join(sorted(names))}, and not just {wheel} and {source}"
        return
    listed = subprocess.run(["git", "ls-files", "service"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    package = set(listed.stdout.split())
    with zipfile.ZipFile(directory / wheel) as file:
        packed = {name for name in file.namelist() if ".dist-info/" not in name}
    with tarfile.open(directory / source) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    yield from (f"the wheel lacks {name}" for name in sorted(package - packed))
    yield from (f"the wheel has {name}, which is not in the repository" for name in sorted(packed - package))
    yield from (f"the source distribution lacks {name}" for name in sorted({*NEEDED, *package} - sources))
    if f"\n## {version}" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        yield f"CHANGELOG.md has no section {version}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import service

    found = [*problems(Path(sys.argv[1]), service.__version__)]
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    sys.exit(bool(found))
