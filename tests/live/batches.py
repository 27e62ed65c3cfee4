"""What batch N of a torture writer does: a pure function of N, the same in every language."""

import zlib

COUNTERS = 16
LOG_KEPT = 400
KEYS = 500
TOUCHED = 4


def batch(number, value_bytes):
    """Puts as (key, value) and deletes as (key, None), in order."""
    text = str(number)
    for counter in range(COUNTERS):
        yield f"counter/{counter:02}", text
    yield f"log/{number:012}", text
    if number > LOG_KEPT:
        yield f"log/{number - LOG_KEPT:012}", None
    for index in range(TOUCHED):
        chance = zlib.crc32(f"{number}/{index}".encode())
        key = f"key/{chance % KEYS:04}"
        if chance // KEYS % 5 == 0:
            yield key, None
        else:
            yield key, f"{number}:{index}:".ljust(value_bytes, "x")


class Model:
    """The state after batch N, for an N that only grows, of a database that began behind batch `first`."""

    def __init__(self, value_bytes, first=0):
        self.value_bytes = value_bytes
        self.number = first
        self.state = {}

    def at(self, number):
        """The whole state after batch `number`."""
        if number < self.number:
            raise ValueError(f"batch {number} after {self.number}: it went back")
        for next_number in range(self.number + 1, number + 1):
            for key, value in batch(next_number, self.value_bytes):
                if value is None:
                    self.state.pop(key, None)
                else:
                    self.state[key] = value
        self.number = number
        return self.state
