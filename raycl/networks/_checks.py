"""Checks of what methods assume about a network; each raises an error of one line if it does not hold.

The checks look at layers and parameters only, so that a network on the meta device can be checked when a
study is planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn
from torch.nn.parameter import is_lazy

from raycl.errors import UserError
from raycl.networks.base import Block, Blocks, Heads, Network, PerTaskBatchNorm

PARAMETERS: set[type] = {nn.Parameter}  # a subclass may compute something else with the same values
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_whole(net: Network, tasks: int) -> None:
    """Check that the network has a body, enough heads, known shapes and no trained parameter elsewhere.

    Raises:
        UserError: If one of these does not hold.
    """
    body, heads = getattr(net, "body", None), getattr(net, "heads", None)
    if not isinstance(body, nn.Module) or not isinstance(heads, nn.ModuleList):
        raise _refusal(net, "should set self.body to a module and self.heads to an nn.ModuleList")
    usual = type(net).head in (Network.head, Heads.head)  # otherwise the network itself chooses the head
    if usual and len(heads) < tasks and (isinstance(net, Heads) or len(heads) != 1):
        wanted = "one head per task" + ("" if isinstance(net, Heads) else ", or one for all tasks")
        raise _refusal(net, f"has {len(heads)} heads for {tasks} tasks; give it {wanted}")
    for name, p in net.named_parameters():
        if is_lazy(p):
            raise _refusal(net, f"does not define the shape of {name!r}; give the lazy layer its sizes")
    if type(net).trainable not in (Network.trainable, Heads.trainable):
        return  # the network itself chooses what is trained
    inside = set(body.parameters()) | set(heads.parameters())
    for name, p in net.named_parameters():
        if p.requires_grad and p not in inside:
            raise _refusal(
                net,
                f"has the parameter {name!r} outside body and heads, where it is not trained; move it into "
                "self.body, or freeze it with requires_grad_(False)",
            )


def check_split(net: Network, who: str) -> None:
    """Check that the network computes its logits as `head` of `features`, because `who` calls these two.

    Raises:
        UserError: If the network has a `forward` of its own.
    """
    if type(net).forward is not Network.forward:
        raise _refusal(
            net,
            f"has a forward() of its own, which {who} does not call: it calls features() and head(); "
            "move the code there",
        )


def check_apart(net: Network, who: str) -> None:
    """Check that heads share no parameter with each other or with the body.

    Raises:
        UserError: If a parameter is shared.
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
    """Check that every head is a linear layer.

    Raises:
        UserError: If a head is another module.
    """
    for task, head in enumerate(net.heads):
        if not isinstance(head, nn.Linear):
            kind = type(head).__name__
            raise _refusal(net, f"has a {kind} as 'heads.{task}'; {who} needs an nn.Linear there")


def check_maskable(net: Network, who: str, *, heads: bool = False) -> None:
    """Check that the network has linear layers or convolutions to mask, each with a weight of its own.

    Args:
        net: Network to check.
        who: Name of the method, for the message.
        heads: Whether the method masks the heads as well.

    Raises:
        UserError: If there are no such layers, a weight is computed from other tensors, or two layers share
            a parameter.
    """
    layers = {f"body.{name}".rstrip("."): m for name, m in net.body.named_modules() if _weighs(m)}
    if not layers:
        raise _refusal(net, f"has no nn.Linear or nn.Conv2d below its heads; {who} masks nothing else")
    if heads:
        check_heads(net, who)
        layers |= {f"heads.{task}": head for task, head in enumerate(net.heads)}
    holders = {name: m for name, m in net.named_modules() if m not in set(layers.values())} | layers
    seen: dict[nn.Parameter, str] = {}
    for name, layer in holders.items():
        if name in layers and not isinstance(layer._parameters.get("weight"), nn.Parameter):
            raise _refusal(
                net,
                f"computes the weight of {name!r} from other tensors (a parametrization or pruning), which "
                f"the masks of {who} do not reach; use a plain {_plain_name(layer)}",
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
    """Check that the network is a chain of blocks, each block reading the output of the previous one.

    Below the heads, nothing but the layers of the blocks may have parameters.

    Raises:
        UserError: If the network is anything else.
    """
    assert isinstance(net, Blocks)
    seen: dict[nn.Parameter, str] = {}
    before = 0
    for place, block in enumerate(net.body):
        name = f"body.{place}"
        if not isinstance(block, Block):
            raise _refusal(net, f"has a {type(block).__name__} as {name!r}; {who} needs a chain of Blocks")
        layer = block.layer
        if reason := altered(layer):
            raise _refusal(net, f"{reason} {name}.layer; {who} needs a plain {_plain_name(layer)} there")
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise _refusal(net, f"groups the convolution {name}.layer; {who} needs groups = 1")
        for own, p in block.named_parameters(name):
            if p not in set(layer.parameters()):
                raise _refusal(
                    net, f"has a parameter {own!r} outside the block's layer, which {who} would not protect"
                )
            if p in seen:
                raise _refusal(net, f"shares {own!r} with {seen[p]!r}; {who} needs layers that share nothing")
            seen[p] = own
        if before and (layer.weight.dim() < 2 or layer.weight.shape[1] % before):
            raise _refusal(
                net,
                f"feeds {layer.weight.shape[1]} inputs to {name!r} from {before} units; {who} needs each "
                "block to read the units of the previous block",
            )
        before = block.units


def check_walked(net: Network, who: str) -> None:
    """Check that the network only runs plain blocks in sequence, because `who` runs the blocks itself.

    Raises:
        UserError: If `features` or the `forward` of a block is overridden.
    """
    assert isinstance(net, Blocks)
    if type(net).features is not Blocks.features:
        raise _refusal(net, f"has features() of its own, which {who} does not call: it runs blocks itself")
    for place, block in enumerate(net.blocks):
        if type(block).forward is not Block.forward:
            raise _refusal(
                net,
                f"has a {type(block).__name__} as 'body.{place}' with a forward() of its own, which {who} "
                "does not call; use a plain Block",
            )


def check_statistics(net: Network, who: str) -> None:
    """Check that batch normalisations keep separate statistics for each task.

    Raises:
        UserError: If tasks share running statistics.
    """
    own = {norm for m in net.modules() if isinstance(m, PerTaskBatchNorm) for norm in m.norms}
    for name, module in net.named_modules():
        if module not in own and keeps_statistics(module):
            raise _refusal(
                net,
                f"shares the running statistics of {name!r} among its tasks, but {who} needs them separate "
                "for each task; use raycl.networks.PerTaskBatchNorm",
            )


def keeps_statistics(module: nn.Module) -> bool:
    """Return whether a module is a batch or instance normalisation of torch with running statistics."""
    return (
        isinstance(module, nn.modules.batchnorm._NormBase)
        and getattr(module, "running_mean", None) is not None
    )


def altered(layer: nn.Module) -> str:
    """Return why a layer is not an unmodified linear layer or convolution of torch, or "" if it is one.

    The result is the beginning of a message and is followed by the name of the layer.
    """
    if type(layer) not in (nn.Linear, nn.Conv2d):
        return "has a " + type(layer).__name__ + " as"
    if any(getattr(layer, name, None) for name in _HOOKS):
        return "has hooks on"
    if "forward" in layer.__dict__:
        return "replaced the forward() of"
    own: Iterable[tuple[str, nn.Parameter]] = ((n, p) for n, p in layer._parameters.items() if p is not None)
    for name, p in own:
        if name not in ("weight", "bias"):
            return f"added the parameter {name!r} to"
        if type(p) not in PARAMETERS or p._backward_hooks:
            return f"altered the {name} of"
    return ""


def shared_names(net: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield (further name, first name) for each parameter that a network holds under several names."""
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
