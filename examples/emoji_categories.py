"""Noto emoji by category, as a folder of pictures for `use = "folder:..."`: DIR/CATEGORY/CODE.png, nine categories, 1,906 pictures of
64x64 (transparent ones are laid on white when they are read).

    npm pack emoji-datasource-google@16.0.0 && tar xzf emoji-datasource-google-16.0.0.tgz
    python emoji_categories.py package data/emoji
"""

import json
import pathlib
import shutil
import sys

# Five patches of hair and skin, too few to learn.
LEFT_OUT = {"Component"}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    package, out = map(pathlib.Path, sys.argv[1:])
    emoji = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    counts = {}
    for entry in emoji:
        picture = package / "img" / "google" / "64" / entry["image"]
        if entry["category"] in LEFT_OUT or not picture.is_file():
            continue
        name = entry["category"].lower().replace(" & ", "-")
        (out / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, out / name / entry["image"])
        counts[name] = counts.get(name, 0) + 1
    if not counts:
        sys.exit(f"{package} has no pictures of this package")
    for name, count in sorted(counts.items()):
        print(f"{count:5} {name}")
    print(f"{sum(counts.values()):5} pictures in {out}")


if __name__ == "__main__":
    main()
