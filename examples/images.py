"""Images as text: digits that a model draws row by row, one character a pixel.

    python examples/images.py           half a minute: draw, train, write images.png
    python examples/images.py --animation images.gif    the same, with an animation of new digits

The training images are drawn here. Each is a digit whose strokes are randomly rotated, stretched
and shifted, in four shades. As a text, an image is its digit followed by its rows from the top,
each ended by a line feed. The model has no information about two dimensions. It learns only
from the text that a stroke continues from one row to the next.

The example generates new digits from their first character, and completes the upper halves of
held-out images. The terminal shows some of the new images. If matplotlib is installed (the extra
``plot``), images.png shows them beside the nearest training images. The example also prints the
loss in bits per pixel, and how many of the new images are copies of training images.

Reference: van den Oord et al. 2016, "Pixel Recurrent Neural Networks".
"""

from __future__ import annotations

import argparse
import io
import sys
from itertools import pairwise

import numpy as np

import npchar

SHADES = " ░▒█"
ROWS, COLUMNS = 10, 8
LENGTH = 1 + ROWS * (COLUMNS + 1)  # characters in an image
STROKES = {  # each point is a column and a row from 0 to 9; a stroke connects its points
    "0": ["40 12 15 27 49 67 85 82 60 40"],
    "1": ["22 50 59"],
    "2": ["12 20 50 82 83 65 19 99"],
    "3": ["11 40 71 73 44 75 87 69 39 18"],
    "4": ["69 60 06 96"],
    "5": ["80 20 14 53 75 77 59 29 08"],
    "6": ["70 42 15 17 39 69 87 75 45 16"],
    "7": ["00 80 59", "25 75"],
    "8": ["54 22 31 50 71 72 54 16 17 39 69 87 86 54"],
    "9": ["83 55 34 12 20 50 71 83 76 59"],
}


def drawn(digit: str, rng: np.random.Generator) -> str:
    """A random image of a digit, as text."""
    turn, slant = rng.normal(0, 0.08), rng.normal(0.05, 0.1)
    size = rng.uniform(0.75, 1.0, 2) * (COLUMNS - 2, ROWS - 2)
    to_pixels = np.array([[np.cos(turn), np.sin(turn) - slant], [-np.sin(turn), np.cos(turn)]])
    middle = np.array([COLUMNS - 1, ROWS - 1]) / 2 + rng.normal(0, 0.35, 2)
    pixels = np.indices((ROWS, COLUMNS))[::-1].transpose(1, 2, 0)  # (ROWS, COLUMNS, 2): x, y
    distance = np.full((ROWS, COLUMNS), np.inf)
    for stroke in STROKES[digit]:
        points = np.array([[int(x), int(y)] for x, y in stroke.split()]) / 9 - 0.5
        points = (points + rng.normal(0, 0.025, points.shape)) * size @ to_pixels.T + middle
        for a, b in pairwise(points):  # the distance of each pixel from the line segment a b
            along = np.clip((pixels - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            off = np.linalg.norm(pixels - a - along[..., None] * (b - a), axis=-1)
            distance = np.minimum(distance, off)
    ink = np.clip(rng.uniform(0.95, 1.35) - distance, 0, 0.99)
    shades = np.array(list(SHADES))[(len(SHADES) * ink).astype(int)]
    return digit + "".join("".join(row) + "\n" for row in shades)


def pixels_of(images: list[str]) -> np.ndarray:
    """The shades of images, (n, ROWS, COLUMNS); generated rows that are too long are cut."""
    rows = [[f"{row:{COLUMNS}.{COLUMNS}}" for row in image[1:].split("\n")] for image in images]
    blank = [" " * COLUMNS] * ROWS
    shades = [[SHADES.find(one) for one in "".join((own + blank)[:ROWS])] for own in rows]
    return np.maximum(0, shades).reshape(-1, ROWS, COLUMNS)


def nearest(images: list[str], train: list[str]) -> tuple[list[str], np.ndarray]:
    """For each image, the training image with the fewest different pixels, and their number."""
    known = pixels_of(train)
    differ = np.array([(known != one).sum((1, 2)) for one in pixels_of(images)])  # (n, train)
    return [train[k] for k in differ.argmin(1)], differ.min(1)


def bits_by_place(train: list[str], held_out: list[str]) -> float:
    """Bits per pixel if shades are predicted by their frequency at each place of the digit."""
    known, digits = pixels_of(train), np.array([image[0] for image in train])
    bits = []
    for image, pixels in zip(held_out, pixels_of(held_out)):
        alike = known[digits == image[0]]
        p = ((alike == pixels).sum(0) + 1) / (len(alike) + len(SHADES))  # (ROWS, COLUMNS)
        bits.append(-np.log2(p).mean())
    return float(np.mean(bits))


def picture(path: str, rows: list[tuple[str, list[str]]]) -> None:
    """Draw named rows of ten images each."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), 10, figsize=(8, 0.95 * len(rows)), dpi=100)
    figure.subplots_adjust(0.2, 0.01, 0.99, 0.99, wspace=0.1, hspace=0.12)
    for line, (name, images) in zip(axes, rows):
        line[0].text(-0.2, 0.5, name, ha="right", va="center", transform=line[0].transAxes)
        for ax, pixels in zip(line, pixels_of(images)):
            ax.imshow(pixels, cmap="Greys", vmin=0, vmax=len(SHADES) - 1)
            ax.axis("off")
    figure.savefig(path)
    plt.close(figure)


def animation(path: str, images: list[str]) -> None:
    """Draw images side by side in a GIF or PNG file, with one more pixel in each frame."""
    from PIL import Image  # installed with matplotlib

    frames = []
    for k in range(1, LENGTH + 1):
        pixels = np.pad(pixels_of([image[:k] for image in images]), ((0, 0), (1, 1), (1, 1)))
        sheet = pixels.swapaxes(0, 1).reshape(ROWS + 2, -1)  # (ROWS + 2, n (COLUMNS + 2))
        grey = 255 - 255 * sheet // (len(SHADES) - 1)
        frames.append(Image.fromarray(np.kron(grey, np.ones((6, 6))).astype(np.uint8)))
    duration = [60] * (LENGTH - 1) + [3000]  # ms
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0)


def main() -> int:
    """Draw images, train, and generate."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    add = parser.add_argument
    add("--images", type=int, default=4000, metavar="N", help="training images (default: 4000)")
    add("--epochs", type=int, default=8, metavar="N", help="passes over them (default: 8)")
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add("--save", default="images.png", metavar="PATH",
        help="file for the picture (default: images.png)")  # fmt: skip
    add("--animation", metavar="PATH", help="GIF file for an animation (default: none)")
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack the block characters
        sys.stdout.reconfigure(errors="replace")

    rng, seed = np.random.default_rng(options.seed), options.seed
    train = [drawn(str(k % 10), rng) for k in range(options.images)]
    held_out = [drawn(str(k % 10), rng) for k in range(max(10, options.images // 8))]
    print(f"{len(train):,} images of {ROWS} × {COLUMNS} pixels, each a text of {LENGTH} characters")
    model = npchar.Model(npchar.Vocabulary.from_documents(train), seed=seed)
    # A window holds a whole image, so the gradient flows from its last pixel to its digit.
    model.fit(train, epochs=options.epochs, maxlen=LENGTH + 1, batch_size=16, learning_rate=0.03,
              seed=seed)  # fmt: skip

    # The bits of line feeds and of the end are divided among the pixels; the digit is given.
    bits = np.stack([score.bits for score in model.score(held_out)])[:, 1:].sum(1).mean()
    grams = model.evaluate(held_out, train_text=train).baselines["5-gram"] / np.log(2)
    print(f"\nvalidation loss, bits per pixel: {bits / ROWS / COLUMNS:.3f}; baselines: "
          f"{bits_by_place(train, held_out):.3f} by place and digit, "
          f"{(grams * (LENGTH + 1) - np.log2(10)) / ROWS / COLUMNS:.3f} 5-gram, "
          f"{np.log2(len(SHADES)):.3f} uniform")  # fmt: skip

    made = []  # twenty of each digit
    for k, digit in enumerate(STROKES):
        made += model.generate_documents(20, LENGTH, beginning=digit, seed=seed + 20 * k)
    copied = npchar.originality(made, train, least=1).copied * len(made)
    print(f"\n{len(made)} new images; {copied:.0f} of them are copies of training images")
    for name, images in {"new images": made, "held-out images": held_out}.items():
        alike, differ = nearest(images, train)
        same = np.mean([one[0] == image[0] for one, image in zip(alike, images)])
        error = (same * (1 - same) / len(images)) ** 0.5
        print(f"{name}: {differ.mean():.1f} pixels differ from the nearest training image, "
              f"which shows the same digit in {same:.1%} ± {error:.1%}")  # fmt: skip
    for row in pixels_of(made[::20]).swapaxes(0, 1):
        print("  ".join("".join(2 * SHADES[shade] for shade in line) for line in row))

    half = 1 + ROWS // 2 * (COLUMNS + 1)
    completed = [model.generate_documents(beginning=image[:half], length=LENGTH, seed=seed)[0]
                 for image in held_out[:10]]  # fmt: skip
    rows = [("training", train[:10]), *(("new", made[k::20]) for k in range(3)),
            ("nearest training", nearest(made[2::20], train)[0]), ("held out", held_out[:10]),
            ("lower half new", completed)]  # fmt: skip
    try:
        picture(options.save, rows)
        print(f"\nMore images are in {options.save}.")
        if options.animation:
            animation(options.animation, made[::20])
            print(f"The animation is in {options.animation}.")
    except ImportError:
        print("\nThe picture needs matplotlib: pip install matplotlib")
    return 0


if __name__ == "__main__":
    sys.exit(main())
