"""Reads the golden bytes of every event type with a second implementation of protobuf.

The codec and the golden files come from the same hands; this script shares with them only the
committed descriptor set. For each file it decodes the bytes, compares every field with the value
written here, and encodes the message again: the bytes must be the same.

Usage: golden.py FOLDER, with protobuf installed.
"""

import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

METRICS = {"accuracy": 0.91, "cost": 12.5}

# By file: the message, and every field that the example sets.
EXPECTED = {
    "environment_defined.v1": (
        "EnvironmentDefined",
        {
            "id": "connect-four",
            "version": 1,
            "elo": {
                "start": 1200.0,
                "k_steps": [
                    {"below_games": 10, "k": 40.0},
                    {"below_games": 20, "k": 32.0},
                    {"k": 24.0},
                ],
                "floor": 100.0,
                "home_advantage": 65.0,
                "draw_score": 0.5,
            },
        },
    ),
    "benchmark_defined.v1": (
        "BenchmarkDefined",
        {
            "id": "swe-verified",
            "version": 1,
            "metric": "accuracy",
            "direction": "DIRECTION_HIGHER",
            "aggregation": "AGGREGATION_BEST",
        },
    ),
    "match_finished.v1": (
        "MatchFinished",
        {
            "environment": "connect-four",
            "match_id": "m-1",
            "players": [
                {"agent": "Ålesund ✓", "placement": 1, "score": 3.0, "home": True},
                {"agent": "bob", "placement": 2, "score": 1.0},
            ],
            "occurred_at_us": 1_795_255_200_000_001,  # 2026-11-21T10:00:00.000001Z
            "context_json": '{"round":"final"}',
        },
    ),
    "submission_received.v1": (
        "SubmissionReceived",
        {
            "benchmark": "swe-verified",
            "submission_id": "s-1",
            "agent": "alice",
            "metrics": METRICS,
            "artifact": "oci://example/alice:1",
            "occurred_at_us": 1_795_219_200_000_000,  # 2026-11-21
        },
    ),
    "run_scored.v1": (
        "RunScored",
        {
            "benchmark": "swe-verified",
            "submission_id": "s-1",
            "run_id": "r-1",
            "status": "RUN_STATUS_COMPLETED",
            "metrics": METRICS,
            "occurred_at_us": 1_795_219_200_000_000,
        },
    ),
    "recent_change_observed.v1": (
        "RecentChangeObserved",
        {
            "id": "b03928dd-fdda-411c-94a1-63977d990b31",
            "occurred_at_us": 1_756_449_917_001_000,  # 2025-08-29T06:45:17.001Z
            "user": "Example",
            "bot": False,
            "server_name": "en.wikipedia.org",
            "change_type": "edit",
            "title": "Sandbox",
            "namespace": -1,
            "minor": True,
            "length_old_bytes": 10,
            "length_new_bytes": 12,
            "wiki": "enwiki",
        },
    ),
}


def load_pool(path):
    """A pool of the committed descriptors, and nothing else."""
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.Add(file)
    return pool


def plain(message):
    """A message's present fields as plain values; an enum's value by its name."""
    return {field.name: plain_value(field, value) for field, value in message.ListFields()}


def plain_value(field, value):
    if field.message_type and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [plain_one(field, item) for item in value]
    return plain_one(field, value)


def plain_one(field, value):
    if field.message_type:
        return plain(value)
    if field.enum_type:
        return field.enum_type.values_by_number[value].name
    return value


def differences(stem, folder, pool):
    """What one golden file says otherwise than expected, in sentences."""
    name, expected = EXPECTED[stem]
    message_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"agon.v1.{name}"))
    golden = (folder / f"{stem}.bin").read_bytes()
    message = message_class.FromString(golden)
    found = plain(message)
    for field in sorted(found.keys() | expected.keys()):
        if found.get(field) != expected.get(field):
            yield f"{stem}: {field} is {found.get(field)!r}, not {expected.get(field)!r}"
    # A field that the descriptors do not know would be carried along unseen.
    message.DiscardUnknownFields()
    again = message.SerializeToString(deterministic=True)
    if again != golden:
        yield f"{stem}: encoded again it is {again.hex()}, not {golden.hex()}"


def main(folder):
    pool = load_pool(folder / "descriptors.binpb")
    stems = {path.name.removesuffix(".bin") for path in folder.glob("*.bin")}
    wrong = [f"{stem}: no values to compare it with" for stem in sorted(stems - EXPECTED.keys())]
    wrong += [f"{stem}: its golden file is gone" for stem in sorted(EXPECTED.keys() - stems)]
    for stem in sorted(stems & EXPECTED.keys()):
        wrong += differences(stem, folder, pool)
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(f"{len(stems)} golden files hold what is written here, and encode to equal bytes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
