"""The table of rooms: who may import whom. The one place to edit when a room is added."""

LEVEL_0 = frozenset(
    {
        "errors",
        "data_root",
        "vocabulary",
        "axes",
        "topology",
        "conversion",
        "block_stream",
        "describe_space",
        "factory",
        "group",
        "graph",
        "space",
        "runner",
        "pretrained",
        "parameters",
        "exporting",
        "extras",
        "space_json",
        "permutation_spec",
    }
)
LEVEL_1 = {
    "symmetry": frozenset(),
    "tracing": frozenset({"symmetry"}),
    "metanets": frozenset({"symmetry", "geometric"}),  # networks on coordinates: the door between the rooms
    "geometric": frozenset(),
    "images": frozenset(),
    "measures": frozenset(),
}
LEVEL_2 = {
    "zoo": frozenset({"tracing", "images", "measures"}),
    "merging": frozenset({"tracing", "symmetry", "measures", "zoo"}),
    "molecules": frozenset({"geometric"}),
}
BELOW_TASKS = frozenset(LEVEL_1) | frozenset(LEVEL_2)
LEVEL_3 = {"tasks": BELOW_TASKS, "reports": BELOW_TASKS}
BELOW_DEMO = BELOW_TASKS | frozenset(LEVEL_3)
LEVEL_4 = {"bench": frozenset(), "demo": BELOW_DEMO, "cli": BELOW_DEMO | {"demo", "bench"}, "testing": BELOW_TASKS}

ALLOWED = {room: LEVEL_0 - {room} for room in LEVEL_0} | {
    room: rooms | LEVEL_0 | {room} for level in (LEVEL_1, LEVEL_2, LEVEL_3, LEVEL_4) for room, rooms in level.items()
}
# `WeightSpace.verify`, `canonicalize` and `scalings` forward upwards in one line: the only such imports.
UPWARD = {("space", name, "symmetry") for name in ("verify", "canonicalize", "scalings")}
