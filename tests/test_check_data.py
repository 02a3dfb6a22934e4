"""What a data set is, and whether it can be trusted."""

import shutil

from datasets.fingerprint import fingerprint
from datasets.pairs import Pairs
from tests.made import make_pairs


def test_a_fingerprint_is_of_names_and_contents_not_of_places_and_links(tmp_path):
    make_pairs(tmp_path / "set" / "test", ["a.png", "b.png"])
    known = fingerprint(Pairs(tmp_path / "set", "test"))
    linked = tmp_path / "linked" / "val"
    for side in ("hazy", "GT"):
        (linked / side).mkdir(parents=True)
        for file in (tmp_path / "set" / "test" / side).iterdir():
            (linked / side / file.name).symlink_to(file)
    assert fingerprint(Pairs(tmp_path / "linked", "val")) == known

    (linked / "GT" / "b.png").unlink()
    shutil.copy(linked / "GT" / "a.png", linked / "GT" / "b.png")
    assert fingerprint(Pairs(tmp_path / "linked", "val")) != known
    for side in ("hazy", "GT"):
        (tmp_path / "set" / "test" / side / "b.png").rename(tmp_path / "set" / "test" / side / "c.png")
    assert fingerprint(Pairs(tmp_path / "set", "test")) != known
