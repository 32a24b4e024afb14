"""Speech as tokens: a model learns a voice, and what it writes is made into new recordings.

    python examples/speech.py           a minute or two: record espeak-ng, learn, write speech.wav
    python examples/speech.py --wav recordings      learn from a folder of WAV files

A recording is cut into frames of 20 ms. Each has 22 numbers: the loudness in 20 bands of frequency,
how much of it is voice (the rest is noise), and the pitch. k-means finds typical frames, the
codebook. A recording is then a text: its word, and the index of the nearest typical frame for each
frame. The model learns these texts and writes new ones from the word. A vocoder makes sound of
frames: a filter gives an artificial voice, or noise, the loudness of each band. A classifier that
was trained on real recordings then listens to held-out recordings, to what the codebook keeps of
them (the most that a model of these tokens can reach), and to new ones.

Vocoder: Dudley 1939, "Remaking Speech". Pitch: Boersma 1993, "Accurate short-term analysis of the
fundamental frequency and the harmonics-to-noise ratio of a sampled sound".
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import wave
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import npchar

RATE = 8000  # samples per second
HOP, WINDOW, FFT = 160, 320, 512  # samples: between frames, in a frame, in its spectrum
BANDS = 20
LOWEST, HIGHEST = 60, 400  # pitches of voices, Hz
VOICE, PITCH = 5, 15  # weights in distances between frames, compared with 20 log powers
QUIET = 1e-5  # differences below this power are inaudible; recordings have a mean power of 0.01
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

# Hann windows that overlap by half add up to 1, so a sum of frames needs no correction
HANN = np.hanning(WINDOW + 1)[:-1]
FREQUENCIES = np.fft.rfftfreq(FFT, 1 / RATE)  # (F,), F = FFT / 2 + 1
# Bands of equal width on the mel scale, the scale of hearing; each is a triangle between the
# middles of its neighbours
EDGES = 700 * (np.geomspace(1, 1 + RATE / 2 / 700, BANDS + 2) - 1)
TRIANGLES = np.array([np.interp(FREQUENCIES, EDGES[k : k + 3], [0, 1, 0]) for k in range(BANDS)])
TRIANGLES /= TRIANGLES.sum(1, keepdims=True)  # (BANDS, F)
BETWEEN = np.array([np.interp(FREQUENCIES, EDGES[1:-1], row) for row in np.eye(BANDS)])


def recorded(words: Sequence[str], takes: int, rng: np.random.Generator) -> list[tuple]:
    """What espeak-ng says: a word and a sound for each take, with varying pitch and speed."""
    if not shutil.which("espeak-ng"):
        raise ValueError("espeak-ng is missing: install it (apt install espeak-ng, brew install "
                         "espeak-ng) or pass a folder of recordings as --wav")  # fmt: skip
    recordings = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "take.wav")
        for word in np.repeat(words, takes).tolist():
            said = word + rng.choice([".", ",", "?", "!"])  # punctuation changes the melody
            pitch, speed = rng.integers((30, 110), (70, 200))
            subprocess.run(["espeak-ng", "-v", "en-us", "-p", str(pitch), "-s", str(speed),
                            "-w", path, "--", said], check=True)  # fmt: skip
            recordings.append((word, read_wav(path)))
    return recordings


def read_folder(folder: str) -> list[tuple]:
    """A word and a sound for each WAV file of a folder; file names begin with the word and _."""
    paths = sorted(Path(folder).glob("*.[wW][aA][vV]"))
    counts = Counter(path.stem.split("_")[0] for path in paths)
    if min(counts.values(), default=0) < 5:
        rarest = ", ".join(f"{n} of {word}" for word, n in counts.most_common()[:-4:-1])
        raise ValueError(f"expected at least 5 WAV files of each word in {folder}, with names "
                         f"such as 7_anna_3.wav, got {rarest or 'none'}")  # fmt: skip
    return [(path.stem.split("_")[0], read_wav(path)) for path in paths]


def read_wav(path: Path) -> np.ndarray:
    """A recording at 8 kHz, with a mean power of 0.01, without the silence around it."""
    try:
        with wave.open(str(path)) as file:
            kind = {1: "u1", 2: "<i2", 4: "<i4"}[file.getsampwidth()]
            samples = np.frombuffer(file.readframes(file.getnframes()), kind)
            spectrum = np.fft.rfft(samples.reshape(-1, file.getnchannels()).mean(1))
            n = len(samples) // file.getnchannels() * RATE // file.getframerate()
        spectrum[0] = 0  # no constant part
        # To resample, cut off the end of the spectrum, or fill it with zeros
        sound = np.fft.irfft(spectrum[: n // 2 + 1], n)
    except (OSError, EOFError, KeyError, ValueError, wave.Error) as error:
        raise ValueError(f"{path}: expected a WAV file of 8, 16 or 32 bits ({error!r})") from None
    sound = np.append(sound, np.zeros(WINDOW))  # at least one frame
    power = (framed(sound) ** 2).mean(1)
    loud = np.flatnonzero(power >= 1e-4 * power.max())
    sound = sound[loud[0] * HOP : loud[-1] * HOP + WINDOW]
    return 0.1 * sound / np.sqrt((sound**2).mean() + 1e-12)


def framed(sound: np.ndarray) -> np.ndarray:
    """The frames of a sound of n samples, (T, WINDOW), T = n // HOP − 1, each faded in and out."""
    return np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP] * HANN


def analysed(sound: np.ndarray) -> np.ndarray:
    """Log powers of the bands, voice, and voice times pitch of each frame: (T, 22)."""
    power = np.abs(np.fft.rfft(framed(sound), FFT)) ** 2  # (T, F)
    bands = np.log(power @ TRIANGLES.T / (HANN**2).sum() + QUIET)
    # The period of a voice is the shift at which a frame is most similar to itself. The division
    # corrects for the overlap. Twice the period is as similar, so short shifts are preferred
    alike = np.fft.irfft(power)  # (T, FFT)
    window = np.fft.irfft(np.abs(np.fft.rfft(HANN, FFT)) ** 2)
    shifts = np.arange(RATE // HIGHEST - 1, RATE // LOWEST + 2)
    alike = alike[:, shifts] / (alike[:, :1] + 1e-9) * window[0] / window[shifts]
    best = 1 + (alike - 0.03 * np.log2(shifts))[:, 1:-1].argmax(1)
    before, at, after = (alike[np.arange(len(alike)), best + k] for k in (-1, 0, 1))
    peak = 0.5 * (before - after) / np.minimum(before - 2 * at + after, -1e-9)  # of a parabola
    octaves = np.log2(RATE / (shifts[best] + np.clip(peak, -0.5, 0.5)) / 100)  # above 100 Hz
    voiced = np.clip((at - 0.4) / 0.4, 0, 1)
    return np.column_stack([bands, VOICE * voiced, PITCH * voiced * octaves])


def synthesised(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sound of (T + 1) · HOP samples from frames, (T, 22)."""
    T, n = len(frames), (len(frames) + 1) * HOP
    voiced = np.clip(frames[:, -2] / VOICE, 0, 1)
    known = np.flatnonzero(voiced >= min(0.3, voiced.max()))  # the others have no pitch
    octaves = frames[known, -1] / PITCH / np.maximum(voiced[known], 0.1)
    octaves = np.convolve(np.pad(octaves, 1, "edge"), [0.25, 0.5, 0.25], "valid")  # smoother
    at = np.arange(n) / HOP - 1  # sample (k + 1) · HOP is the middle of frame k
    pitch = 100 * 2 ** np.interp(at, known, octaves)  # (n,)
    # The source has power 1 at all frequencies: all harmonics of the pitch, and noise
    harmonics = np.arange(1, RATE / 2 / pitch.min())[:, None]  # (h, 1)
    heard = harmonics * pitch < RATE / 2
    voice = (np.cos(2 * np.pi * harmonics * np.cumsum(pitch) / RATE) * heard).sum(0)
    noise = 1 - np.interp(at, np.arange(T), voiced)
    source = np.sqrt((1 - noise**2) * 2 / heard.sum(0)) * voice + noise * rng.normal(size=n)
    # The filter has minimum phase, as a throat does: the part of its cepstrum before time 0 is
    # folded to the part after it
    bands = np.log(np.maximum(np.exp(frames[:, :BANDS]) - QUIET, QUIET / 10))
    cepstrum = np.fft.irfft(bands / 2 @ BETWEEN)  # (T, FFT)
    cepstrum[:, 1 : FFT // 2] *= 2
    cepstrum[:, FFT // 2 + 1 :] = 0
    filtered = np.fft.irfft(np.fft.rfft(framed(source), FFT) * np.exp(np.fft.rfft(cepstrum)))
    sound = np.zeros(n + FFT)
    for k, frame in enumerate(filtered):
        sound[k * HOP : k * HOP + FFT] += frame
    return sound[:n]


def nearest(frames: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """The index of the nearest typical frame for each frame, (T,)."""
    return ((codebook**2).sum(1) - 2 * frames @ codebook.T).argmin(1)


def typical(frames: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A codebook by k-means, (size, 22)."""
    codebook = rng.permutation(frames)[:size]
    for _ in range(20):
        own = nearest(frames, codebook)
        for k in np.unique(own):
            codebook[k] = frames[own == k].mean(0)
    return codebook


def classifier(recordings: Sequence[tuple]) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """A function that hears the word of each sound: kernel ridge regression on the bands."""
    words, own = np.unique([word for word, _ in recordings], return_inverse=True)

    def stretched(sounds: Sequence[np.ndarray]) -> np.ndarray:
        bands = [analysed(sound)[:, :BANDS] for sound in sounds]
        at = [np.linspace(0, len(one) - 1, 12).round().astype(int) for one in bands]
        return np.array([one[steps].ravel() for one, steps in zip(bands, at)])  # (n, 12 BANDS)

    def similar(others: np.ndarray) -> np.ndarray:
        squares = (others**2).sum(1)[:, None] + (known**2).sum(1) - 2 * others @ known.T
        return np.exp(-squares / (known.var(0).sum() + 1e-9))

    known = stretched([sound for _, sound in recordings])
    weights = np.linalg.solve(similar(known) + 0.01 * np.eye(len(own)), np.eye(len(words))[own])
    return lambda sounds: words[(similar(stretched(sounds)) @ weights).argmax(1)]


def write_wav(path: str, sounds: Sequence[np.ndarray]) -> float:
    """Write sounds to a WAV file, a pause after each; how many seconds it lasts."""
    samples = np.concatenate([np.append(sound, np.zeros(RATE // 4)) for sound in sounds])
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", None))
        file.writeframes((32767 * np.clip(samples, -1, 1)).astype("<i2").tobytes())
    return len(samples) / RATE


def picture(path: str, rows: dict[str, Sequence[np.ndarray]], words: Sequence[str]) -> None:
    """Draw the spectrograms of the first six words, each row with a name."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), len(words[:6]), figsize=(10, 5.5), sharex=True,
                                sharey=True, squeeze=False, layout="constrained")  # fmt: skip
    for line, (name, sounds) in zip(axes, rows.items()):
        line[0].set_ylabel(f"{name}\nkHz")
        for ax, sound in zip(line, sounds):
            frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::32] * HANN
            ax.imshow(np.log10(abs(np.fft.rfft(frames, FFT)).T + 0.01), cmap="magma", vmin=-1.5,
                      vmax=1.2, origin="lower", aspect="auto",
                      extent=(0, len(sound) / RATE, 0, RATE / 2000))  # fmt: skip
    for ax, word in zip(axes[0], words):
        ax.set_title(word)
    longest = max(len(sound) for sounds in rows.values() for sound in sounds[:6])
    axes[0, 0].set_xlim(0, longest / RATE)  # shared by all
    figure.supxlabel("seconds")
    figure.savefig(path)
    plt.close(figure)


def main() -> int:
    """Record, train, generate, listen."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    add = parser.add_argument
    add("--wav", metavar="FOLDER", help="WAV files, named WORD_ANYTHING.wav such as 7_anna_3.wav")
    add("--words", nargs="+", default=WORDS, metavar="WORD", help="for espeak-ng (ten digits)")
    add("--takes", type=int, default=60, metavar="N", help="recordings of each word (60)")
    add("--codes", type=int, default=256, metavar="N", help="typical frames (256)")
    add("--epochs", type=int, default=14, metavar="N", help="passes over the recordings (14)")
    add("--temperature", type=float, default=0.8, metavar="T", help="of new recordings (0.8)")
    add("--seed", type=int, default=0, metavar="N", help="the same seed, the same sounds (0)")
    add("--save", default="speech.wav", metavar="PATH", help="where the sounds go (speech.wav)")
    add("--figure", default="speech.png", metavar="PATH", help="spectrograms (speech.png)")
    options = parser.parse_args()
    rng, seed = np.random.default_rng(options.seed), options.seed
    try:
        recordings = (read_folder(options.wav) if options.wav
                      else recorded(options.words, max(5, options.takes), rng))  # fmt: skip
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"speech.py: {error}", file=sys.stderr)
        return 2

    words = sorted({word for word, _ in recordings})
    train, held_out = [], []
    for word in words:  # a fifth of its recordings is held out
        sounds = [sound for own, sound in recordings if own == word]
        shuffled = [(word, sounds[k]) for k in rng.permutation(len(sounds))]
        train += shuffled[len(sounds) // 5 :]
        held_out += shuffled[: len(sounds) // 5]
    codebook = typical(np.concatenate([analysed(sound) for _, sound in train]), options.codes, rng)

    def sound_of(document: list) -> np.ndarray:
        codes = [token for token in document if isinstance(token, int)]
        return synthesised(codebook[codes or [0]], rng)

    learned, tested = (
        [[word, *nearest(analysed(sound), codebook).tolist()] for word, sound in some]
        for some in (train, held_out))  # fmt: skip
    vocabulary = npchar.Vocabulary.from_documents([*learned, list(range(len(codebook)))])
    model = npchar.Model(vocabulary, dropout=0.4, seed=seed)
    print(f"{len(recordings):,} recordings of {len(words)} words, {len(held_out)} held out; "
          f"{sum(map(len, learned)) - len(learned):,} frames to learn")  # fmt: skip
    model.fit(learned, epochs=options.epochs, learning_rate=0.02, seed=seed)

    # The end of a recording counts as a frame, its word does not. The model knows the word, so
    # n-grams are counted for each word separately
    loss = -np.concatenate([score.log_probabilities[1:] for score in model.score(tested)]).mean()
    losses = dict.fromkeys(("unigram", "2-gram", "3-gram"), 0.0)
    for word in words:
        a, b = ([own[1:] for own in some if own[0] == word] for some in (tested, learned))
        baselines = model.evaluate(a, train_text=b).baselines
        share = sum(len(own) + 1 for own in a) / sum(map(len, tested))
        losses = {gram: losses[gram] + share * baselines[gram] for gram in losses}
    print(f"\nheld out, nats per frame: {loss:.3f}; baselines:",
          ", ".join(f"{nats:.3f} {gram}" for gram, nats in losses.items()))  # fmt: skip

    made = [own for k, word in enumerate(words) for own in model.generate_documents(
        20, max(map(len, learned)), beginning=[word], temperature=options.temperature,
        seed=seed + 20 * k)]  # fmt: skip
    sounds = {"held out": held_out,
              "from its tokens": [(own[0], sound_of(own)) for own in tested],
              "new": [(own[0], sound_of(own)) for own in made]}  # fmt: skip
    classify = classifier(train)
    print("\nthe classifier hears the right word in")
    for name, some in sounds.items():
        right = (classify([sound for _, sound in some]) == [word for word, _ in some]).sum()
        print(f"  {right} of {len(some)} recordings {name} ({right / len(some):.1%})")
    print(f"{sum(own in learned for own in made)} new recordings are copies of training recordings")

    rows = {name: [next(sound for own, sound in some if own == word) for word in words]
            for name, some in sounds.items()}  # fmt: skip
    seconds = write_wav(options.save, [row[k] for k in range(len(words)) for row in rows.values()])
    print(f"\n{options.save} ({seconds:.2f} s) has each word three times: {', '.join(rows)}")
    try:
        picture(options.figure, rows, words)
        print(f"{options.figure} has spectrograms")
    except ImportError:
        print("for spectrograms: pip install matplotlib")
    return 0


if __name__ == "__main__":
    sys.exit(main())
