"""Sound on its way to the audio tower: a log-mel spectrogram. numpy alone.

Source: 16 kHz log-mel features as Gemini (arXiv 2312.11805, section 2) takes from the Universal Speech Model; mel scale
of the HTK book (O'Shaughnessy, 1987): mel = 2595 log10(1 + f / 700).
Deviates: bands, window and floor are choices, the published ones are not disclosed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_core.errors import InputInvalid

RATE_HZ = 16_000
# 25 ms and 10 ms.
WINDOW, HOP, FFT = 400, 160, 512
# Of a band's power, before the logarithm: silence is a number.
FLOOR = 1e-5


def frames_of(samples: int) -> int:
    """Spectrogram frames of a clip of `samples` samples; at least one window is needed."""
    return 1 + (samples - WINDOW) // HOP


def log_mel(samples: NDArray[Any], bins: int = 80) -> NDArray[np.float32]:
    """Frames (frames, bins) of a clip: (ln(max(power, 1e-5)) + 5) / 5, of about unit size.

    samples: one channel at 16 kHz in -1 .. 1, at least 400 of them, finite. A frame is 25 ms every 10 ms; what is left
    at the end is dropped. Raises InputInvalid.
    """
    clip = np.asarray(samples)
    if clip.ndim != 1 or clip.shape[0] < WINDOW or not np.issubdtype(clip.dtype, np.floating):
        reason = f"Must be one channel of at least {WINDOW} floating-point samples, is {clip.dtype}{list(clip.shape)}."
        raise InputInvalid("This is no sound.", fields={"samples": reason})
    if not np.isfinite(clip).all():
        raise InputInvalid("This is no sound.", fields={"samples": "NaN or infinity is among them."})
    cut = np.lib.stride_tricks.sliding_window_view(clip.astype(np.float64), WINDOW)[::HOP]
    # Periodic Hann window.
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(cut * window, FFT)) ** 2
    return ((np.log(np.maximum(power @ mel_filters(bins), FLOOR)) + 5) / 5).astype(np.float32)


@cache
def mel_filters(bins: int) -> NDArray[np.float64]:
    """Triangular filters (FFT / 2 + 1, bins), equally wide in mel from 0 to 8 kHz, each with a peak of 1."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE_HZ / 2 / 700), bins + 2) / 2595) - 1)
    heard = np.linspace(0, RATE_HZ / 2, FFT // 2 + 1)[:, None]
    rising = (heard - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - heard) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling))
