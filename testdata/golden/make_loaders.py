"""Generates the eight images of the loaders' golden set and writes all files of the set.

    pip install numpy pillow pyarrow safetensors
    python make_loaders.py            # writes beside this file

The images are colour gradients and waves, computed here; none comes from a data set. Class names and superclass numbers
are those of CIFAR-100.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
# (class, fine label, coarse label)
DRAWN = [
    ("whale", 95, 0),
    ("apple", 0, 4),
    ("bicycle", 8, 18),
    ("rose", 70, 2),
    ("castle", 17, 9),
    ("bear", 3, 8),
    ("bottle", 9, 3),
    ("aquarium_fish", 1, 1),
]
CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
""".split()


def draw(index):
    """An image [32, 32, 3] of u8 without any symmetry: swapped axes or channels change it."""
    y, x = np.mgrid[0:32, 0:32].astype(np.float64)
    planes = [
        4 * x + 3 * y + 5 * index,
        127 + 120 * np.sin((index + 1) * x / 9) * np.cos(y / (index + 3)),
        255 - 6 * y + 40 * ((x // (index + 2)) % 2) - x,
    ]
    return np.clip(np.rint(np.stack(planes, axis=-1)), 0, 255).astype(np.uint8)


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def main():
    images = [draw(i) for i in range(len(DRAWN))]
    files = [png(image) for image in images]
    items = []
    for i, ((name, fine, coarse), image, file) in enumerate(zip(DRAWN, images, files)):
        path = Path("train") / name / f"drawn_{i}.png"
        (HERE / "loaders" / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / "loaders" / path).write_bytes(file)
        items.append({
            "index": i,
            "path": path.as_posix(),
            "fine_label": fine,
            "coarse_label": coarse,
            "class": name,
            "png_bytes": len(file),
            "png_sha256": hashlib.sha256(file).hexdigest(),
            "pixel_sum": int(image.sum()),
            "channel_sums": [int(image[..., c].sum()) for c in range(3)],
            "pixels_sha256": hashlib.sha256(image.tobytes()).hexdigest(),
        })

    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({
        "img": pa.array([{"bytes": file, "path": None} for file in files], struct),
        "fine_label": pa.array([fine for _, fine, _ in DRAWN], pa.int64()),
        "coarse_label": pa.array([coarse for _, _, coarse in DRAWN], pa.int64()),
    })
    folder = HERE / "loaders"
    pq.write_table(table, folder / "train.snappy.parquet", compression="snappy", use_dictionary=True, row_group_size=3)
    pq.write_table(table, folder / "train.plain.parquet", compression="none", use_dictionary=False)

    stacked = np.stack(images)
    normalised = (stacked[:4].astype(np.float64) / 255 - MEAN) / STD
    save_file({
        "images": stacked,
        "fine_labels": np.array([fine for _, fine, _ in DRAWN], np.int64),
        "coarse_labels": np.array([coarse for _, _, coarse in DRAWN], np.int64),
        "normalised_first4": np.ascontiguousarray(normalised.transpose(0, 3, 1, 2)).astype(np.float32),
    }, HERE / "loaders.safetensors")
    content = {"source": "drawn by make_loaders.py", "mean": MEAN, "std": STD, "classes": CLASSES, "items": items}
    (HERE / "loaders.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    assert len(CLASSES) == 100 and CLASSES == sorted(CLASSES)
    assert all(CLASSES[fine] == name for name, fine, _ in DRAWN)
    main()
