"""What a comparison of a real log with a simulated one says, in sentences."""

from typing import Any


def lines(content: dict[str, Any]) -> list[str]:
    """The classifier's answer, what gives the simulation away, and how many figures lie where sampling would put them."""
    told, between = content["discriminator"], content["between_seeds"]
    if told["auc"] is None:
        said = [f"No classifier was asked: {told['why']}."]
    else:
        said = [
            f"A classifier tells real impressions from simulated ones with an AUC of {interval(told['auc'])}; 0.5 is chance."
        ]
        if between is not None:
            said.append(f"Between two simulated logs it has {interval(between)}: what stores drawn anew give away.")
        said += [f"{line[0].upper()}{line[1:]}." for line in told["words"]]
    outside, figures = (sum(row[name] for row in content["statistics"]) for name in ("outside", "figures"))
    said.append(
        f"{outside} of {figures} figures lie outside their 95% interval; {0.05 * figures:.0f} would by sampling alone."
    )
    return said


def interval(found: list[float]) -> str:
    """An AUC with its 95% interval."""
    estimate, low, high = found
    return f"{estimate:.3f} [{low:.3f}, {high:.3f}]"
