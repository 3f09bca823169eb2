"""What methods take for granted of a network: each check refuses, in one line, where it does not hold.

They look at layers and parameters alone, so that a network on the meta device can be checked when a study is
planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn
from torch.nn.parameter import is_lazy

from raycl.errors import UserError
from raycl.networks.base import Block, Blocks, Heads, Network, PerTaskBatchNorm

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_whole(net: Network, tasks: int) -> None:
    """There are a body and heads enough, all shapes are known, and what is to be trained lies in them.

    Raises:
        UserError: otherwise.
    """
    body, heads = getattr(net, "body", None), getattr(net, "heads", None)
    if not isinstance(body, nn.Module) or not isinstance(heads, nn.ModuleList):
        raise _refusal(net, "has to set self.body, a module, and self.heads, an nn.ModuleList")
    usual = type(net).head in (Network.head, Heads.head)  # else it says itself which head answers
    if usual and len(heads) < tasks and (isinstance(net, Heads) or len(heads) != 1):
        wanted = "a head for each of them" + ("" if isinstance(net, Heads) else ", or one for all")
        raise _refusal(net, f"has {len(heads)} heads for {tasks} tasks; give it {wanted}")
    for name, p in net.named_parameters():
        if is_lazy(p):
            raise _refusal(net, f"does not know the shape of {name!r}; give the lazy layer its sizes")
    if type(net).trainable not in (Network.trainable, Heads.trainable):
        return  # it says itself what is trained
    inside = set(body.parameters()) | set(heads.parameters())
    for name, p in net.named_parameters():
        if p.requires_grad and p not in inside:
            raise _refusal(
                net,
                f"keeps the parameter {name!r} outside of body and heads, where nothing trains it; move it "
                "into self.body, or freeze it with requires_grad_(False)",
            )


def check_split(net: Network, who: str) -> None:
    """The network answers by `head` of `features`, which is what `who` asks of it.

    Raises:
        UserError: it has a `forward` of its own.
    """
    if type(net).forward is not Network.forward:
        raise _refusal(
            net,
            f"has a forward() of its own, which {who} passes by: it asks features() and head(); "
            "write it there",
        )


def check_apart(net: Network, who: str) -> None:
    """Heads share no parameter with each other or with the body.

    Raises:
        UserError: two of them do.
    """
    owners: dict[nn.Parameter, str] = {p: f"body.{name}" for name, p in net.body.named_parameters()}
    for task, head in enumerate(net.heads):
        for name, p in head.named_parameters():
            place = f"heads.{task}.{name}"
            if p in owners:
                raise _refusal(
                    net, f"shares {owners[p]!r} with {place!r}; {who} needs heads that share nothing"
                )
        owners |= {p: f"heads.{task}.{name}" for name, p in head.named_parameters()}


def check_heads(net: Network, who: str) -> None:
    """Heads are linear layers.

    Raises:
        UserError: one is not.
    """
    for task, head in enumerate(net.heads):
        if not isinstance(head, nn.Linear):
            kind = type(head).__name__
            raise _refusal(net, f"has a {kind} for 'heads.{task}'; {who} needs an nn.Linear there")


def check_maskable(net: Network, who: str, *, heads: bool = False) -> None:
    """There are linear layers or convolutions to mask, whose weights are parameters of their own.

    Args:
        heads: whether `who` masks the heads as well.

    Raises:
        UserError: there are none, or a weight is made of others, or two layers share one.
    """
    layers = {f"body.{name}".rstrip("."): m for name, m in net.body.named_modules() if _weighs(m)}
    if not layers:
        raise _refusal(net, f"has no nn.Linear or nn.Conv2d below its heads, and {who} masks nothing else")
    if heads:
        check_heads(net, who)
        layers |= {f"heads.{task}": head for task, head in enumerate(net.heads)}
    holders = {name: m for name, m in net.named_modules() if m not in set(layers.values())} | layers
    seen: dict[nn.Parameter, str] = {}
    for name, layer in holders.items():
        if name in layers and not isinstance(layer._parameters.get("weight"), nn.Parameter):
            raise _refusal(
                net,
                f"makes the weight of {name!r} out of other tensors (a parametrization or pruning), where "
                f"the masks of {who} do not reach; take a plain {_plain_name(layer)}",
            )
        for own, p in layer._parameters.items():
            if p is None:
                continue
            if p in seen and (name in layers or seen[p] in layers):
                raise _refusal(
                    net, f"shares {own!r} of {name!r} with {seen[p]!r}; {who} needs layers that share nothing"
                )
            seen.setdefault(p, name)


def check_chain(net: Network, who: str) -> None:
    """A chain of blocks: all that is trained below the heads is their layers, each fed by the one before.

    Raises:
        UserError: otherwise.
    """
    assert isinstance(net, Blocks)
    seen: dict[nn.Parameter, str] = {}
    before = 0
    for place, block in enumerate(net.body):
        name = f"body.{place}"
        if not isinstance(block, Block):
            raise _refusal(net, f"has a {type(block).__name__} for {name!r}; {who} needs a chain of Blocks")
        layer = block.layer
        if reason := altered(layer):
            raise _refusal(net, f"{reason} {name}.layer; {who} needs a plain {_plain_name(layer)} there")
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise _refusal(net, f"groups the convolution {name}.layer; {who} needs groups = 1")
        for own, p in block.named_parameters(name):
            if p not in set(layer.parameters()):
                raise _refusal(
                    net, f"has a parameter {own!r} beside the block's layer, which {who} would not protect"
                )
            if p in seen:
                raise _refusal(net, f"shares {own!r} with {seen[p]!r}; {who} needs layers that share nothing")
            seen[p] = own
        if before and (layer.weight.dim() < 2 or layer.weight.shape[1] % before):
            raise _refusal(
                net,
                f"feeds {layer.weight.shape[1]} inputs to {name!r} from {before} units; {who} needs each "
                "block to read the units of the one before",
            )
        before = block.units


def check_walked(net: Network, who: str) -> None:
    """The network is its blocks, one after another, and its blocks are raycl's: `who` runs them itself.

    Raises:
        UserError: otherwise.
    """
    assert isinstance(net, Blocks)
    if type(net).features is not Blocks.features:
        raise _refusal(net, f"has features() of its own, which {who} passes by: it runs the blocks itself")
    for place, block in enumerate(net.blocks):
        if type(block).forward is not Block.forward:
            raise _refusal(
                net,
                f"has a {type(block).__name__} for 'body.{place}' with a forward() of its own, which {who} "
                "passes by; take a plain Block",
            )


def check_statistics(net: Network, who: str) -> None:
    """Batch normalisations have statistics for each task of its own.

    Raises:
        UserError: all tasks share some.
    """
    own = {norm for m in net.modules() if isinstance(m, PerTaskBatchNorm) for norm in m.norms}
    for name, module in net.named_modules():
        if module not in own and keeps_statistics(module):
            raise _refusal(
                net,
                f"shares the running statistics of {name!r} among its tasks, and {who} keeps some for each; "
                "take raycl.networks.PerTaskBatchNorm",
            )


def keeps_statistics(module: nn.Module) -> bool:
    """Whether it is a normalisation of torch's (batch or instance) that moves running statistics."""
    return (
        isinstance(module, nn.modules.batchnorm._NormBase)
        and getattr(module, "running_mean", None) is not None
    )


def altered(layer: nn.Module) -> str:
    """What keeps a layer from being a linear layer or convolution as torch made it; "" where nothing does."""
    if type(layer) not in (nn.Linear, nn.Conv2d):
        return "has a " + type(layer).__name__ + " for"
    if any(getattr(layer, name, None) for name in _HOOKS):
        return "has hooks on"
    if "forward" in layer.__dict__:
        return "replaced the forward() of"
    own: Iterable[tuple[str, nn.Parameter]] = ((n, p) for n, p in layer._parameters.items() if p is not None)
    for name, p in own:
        if name not in ("weight", "bias"):
            return f"added the parameter {name!r} to"
        if type(p) is not nn.Parameter or p._backward_hooks:
            return f"altered the {name} of"
    return ""


def shared_names(net: nn.Module) -> Iterator[tuple[str, str]]:
    """(further name, first name) of each parameter that a network holds under several."""
    first: dict[nn.Parameter, str] = {}
    for name, p in net.named_parameters(remove_duplicate=False):
        if p in first:
            yield name, first[p]
        first.setdefault(p, name)


def _weighs(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d)


def _plain_name(layer: nn.Module) -> str:
    return "nn.Conv2d" if isinstance(layer, nn.Conv2d) else "nn.Linear"


def _refusal(net: Network, what: str) -> UserError:
    return UserError(f"network {type(net).__name__} {what}")
