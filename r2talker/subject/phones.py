"""The sounds the synthetic voice knows: how the mouth stands for each, and how each sounds.

Formant frequencies are round textbook figures for an adult (Peterson and Barney 1952 for vowels; Klatt 1980 for consonants),
bent so that what can be seen can be heard: the first formant rises with the jaw's opening, the second with spread lips.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phone:
    """open: 0 to 1. width: -1 rounded to 1 spread. press: 1 lips shut. formants: Hz. seconds: mean duration.

    voice, breath, noise: amplitudes of the glottal pulse, of noise through the formants, of friction around `noise_centre` Hz.
    """

    open: float
    width: float
    press: float
    formants: tuple[float, float, float]
    voice: float = 1.0
    breath: float = 0.02
    noise: float = 0.0
    noise_centre: float = 3000.0
    seconds: float = 0.07


PHONES: dict[str, Phone] = {
    "a": Phone(1.00, 0.10, 0, (820, 1250, 2550), seconds=0.150),
    "ae": Phone(0.80, 0.55, 0, (700, 1700, 2550), seconds=0.140),
    "e": Phone(0.50, 0.65, 0, (530, 1950, 2600), seconds=0.125),
    "i": Phone(0.22, 1.00, 0, (300, 2350, 3050), seconds=0.125),
    "o": Phone(0.55, -0.65, 0, (560, 850, 2450), seconds=0.145),
    "u": Phone(0.22, -1.00, 0, (320, 720, 2250), seconds=0.130),
    "schwa": Phone(0.40, 0.00, 0, (500, 1450, 2500), seconds=0.080),
    "m": Phone(0.00, 0.00, 1, (250, 1050, 2200), voice=0.42, seconds=0.080),
    "b": Phone(0.00, 0.00, 1, (220, 900, 2200), voice=0.10, breath=0.0, seconds=0.070),
    "p": Phone(0.00, 0.00, 1, (220, 900, 2200), voice=0.0, breath=0.0, seconds=0.085),
    "f": Phone(0.08, 0.10, 0.35, (320, 1100, 2300), voice=0.0, breath=0.02, noise=0.13, noise_centre=2600, seconds=0.095),
    "v": Phone(0.08, 0.10, 0.35, (320, 1100, 2300), voice=0.35, noise=0.07, noise_centre=2600, seconds=0.070),
    "s": Phone(0.14, 0.55, 0, (320, 1700, 2600), voice=0.0, noise=0.26, noise_centre=5600, seconds=0.105),
    "sh": Phone(0.18, -0.75, 0, (320, 1600, 2500), voice=0.0, noise=0.28, noise_centre=3100, seconds=0.105),
    "t": Phone(0.16, 0.30, 0, (320, 1750, 2650), voice=0.0, breath=0.0, noise=0.05, noise_centre=4600, seconds=0.065),
    "d": Phone(0.16, 0.30, 0, (280, 1700, 2650), voice=0.16, breath=0.0, noise=0.03, noise_centre=4200, seconds=0.055),
    "n": Phone(0.18, 0.25, 0, (280, 1600, 2600), voice=0.45, seconds=0.065),
    "l": Phone(0.30, 0.20, 0, (380, 1150, 2700), voice=0.65, seconds=0.065),
    "w": Phone(0.14, -1.00, 0, (300, 650, 2200), voice=0.60, seconds=0.075),
    "k": Phone(0.30, 0.10, 0, (320, 1800, 2400), voice=0.0, breath=0.0, noise=0.06, noise_centre=1900, seconds=0.070),
    "pause": Phone(0.00, 0.00, 0.15, (500, 1500, 2500), voice=0.0, breath=0.0, seconds=0.30),
}

VOWELS = ("a", "ae", "e", "i", "o", "u", "schwa")
CONSONANTS = ("m", "b", "p", "f", "v", "s", "sh", "t", "d", "n", "l", "w", "k")
