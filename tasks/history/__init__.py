"""Past releases: what each journal says of its own, an index over all of them, and the DORA figures."""

from tasks.history.entry import Entry, Unreadable, entry_of
from tasks.history.figures import End, Figures, Spread, Tally, ends_of, rounded, tally_of, undone_by
from tasks.history.index import Found, Index
from tasks.history.past import History, history_of

__all__ = [
    "End",
    "Entry",
    "Figures",
    "Found",
    "History",
    "Index",
    "Spread",
    "Tally",
    "Unreadable",
    "ends_of",
    "entry_of",
    "history_of",
    "rounded",
    "tally_of",
    "undone_by",
]
