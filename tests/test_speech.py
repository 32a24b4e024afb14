"""The speech example, on recordings that NumPy makes: tones of two pitches instead of words."""

import re
import runpy
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np

EXAMPLE = Path(__file__).parents[1] / "examples" / "speech.py"


def tone(pitch, seconds, rate=8000):
    phase = 2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate
    return sum(np.cos(k * phase) / k for k in range(1, int(rate / 2 / pitch)))


def speech(*arguments, **named):
    command = [sys.executable, EXAMPLE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **named)


def test_it_learns_from_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(20):
        sound = tone((100, 220)[k % 2] * rng.uniform(0.95, 1.05), 0.3, rate=11025)
        with wave.open(str(tmp_path / f"{('low', 'high')[k % 2]}_numpy_{k}.wav"), "wb") as file:
            file.setparams((1, 2, 11025, 0, "NONE", None))
            file.writeframes((3000 * sound).astype("<i2").tobytes())
    results = []
    for save in ("a", "b"):
        result = speech("--wav", ".", "--codes", 16, "--epochs", 2, "--save", save, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        text = result.stdout.partition("held out, nats")[2].replace(f"{save} (", "file (")
        results.append((text, Path(tmp_path, save).read_bytes()))
    assert results[0] == results[1]
    assert len(re.findall(r"\d\.\d{3}", text)) == 4  # losses
    assert "4 of 4 recordings held out (100.0%)" in text
    with wave.open(str(tmp_path / "a")) as file:
        assert f"({file.getnframes() / 8000:.2f} s) has each word three times" in text


def test_a_vocoded_tone_keeps_its_pitch():
    example = runpy.run_path(str(EXAMPLE))
    for pitch in (90, 150, 310):
        real = tone(pitch, 0.5)
        frames = example["analysed"](real)
        sound = example["synthesised"](frames, np.random.default_rng(0))
        assert len(sound) == (len(frames) + 1) * example["HOP"]
        again = example["analysed"](sound)[2:-2]
        octaves = again[:, -1] / again[:, -2] * example["VOICE"] / example["PITCH"]
        assert np.abs(100 * 2**octaves / pitch - 1).max() < 0.02
        assert 0.3 < (sound**2).mean() / (real**2).mean() < 3


def test_what_it_needs_is_one_sentence(tmp_path):
    (tmp_path / "7_anna_3.wav").write_bytes(b"RIFF")
    for arguments, expected in {("--wav", tmp_path): "got 1 of 7", (): "install it"}.items():
        result = speech(*arguments, cwd=tmp_path, env={"PATH": str(tmp_path)})
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("speech.py: ")
        assert expected in result.stderr
        assert result.stderr.count("\n") == 1
