"""A directory as Kubernetes mounts a Secret: files are symlinks through ``..data``, which an update replaces."""

import itertools
import shutil

from watching import WATCH

_numbers = itertools.count(1)


class Volume:
    """A mounted volume in an empty directory. ``update`` replaces all its files."""

    def __init__(self, directory, **files):
        self.directory = directory
        self.update(files)

    def update(self, files):
        """Show these files, texts by name, from one instant on."""
        version = f"..{next(_numbers)}"
        (self.directory / version).mkdir()
        for name, text in files.items():
            WATCH.sent(text.encode())
            (self.directory / version / name).write_text(text)
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        before = (self.directory / "..data").resolve()
        (self.directory / "..data_tmp").symlink_to(version)
        (self.directory / "..data_tmp").rename(self.directory / "..data")
        if before.name != "..data":
            shutil.rmtree(before)

    def __truediv__(self, name):
        return self.directory / name
