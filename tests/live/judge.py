"""Is a copy a state its owner was in? C++ LevelDB with paranoid checks opens it, and every record is compared."""

import plyvel


def judge(copy, model, acknowledged):
    """"ok", or what is wrong: "wont_open: ..." or "silent: ..." (it opens and is not what was written)."""
    try:
        database = plyvel.DB(copy, paranoid_checks=True)
        records = {key.decode(): value.decode() for key, value in database.iterator(verify_checksums=True)}
        database.close()
    except Exception as error:  # whatever it says, the copy is of no use
        return f"wont_open: {error}"
    number = int(records.get("counter/00", "0"))
    if number < acknowledged:
        return f"silent: batch {acknowledged} was acknowledged, and the newest is {number}"
    if number < model.number:
        return f"silent: batch {model.number} was captured before, and the newest is {number}"
    if records != model.at(number):
        return f"silent: {difference(records, model.state)} after batch {number}"
    return "ok"


def difference(found, expected):
    """One key that differs, for people."""
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            return f"{key} is {str(found.get(key))[:40]!r} and not {str(expected.get(key))[:40]!r}"
    return "nothing differs"
