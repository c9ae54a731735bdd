"""Attached architectures: what is kept, what a wrong key and an unknown architecture say."""

import copy

import pytest
import torch
from torch import nn

import weightspace as ws
from weightspace.errors import WeightspaceError
from weightspace.metanets import NetworkReader, TracedNetwork
from weightspace.metanets._networks import AttachedNetworks


def traced(width=3):
    net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
    return TracedNetwork(ws.trace(net, torch.zeros(1, 2)), net, (torch.zeros(1, 2),))


def test_networks_are_found_by_their_signatures():
    attached, networks = AttachedNetworks("Probing"), [traced(3), traced(4)]
    attached.add(networks[:1])
    attached.add({networks[1].signature: networks[1]})
    assert len(attached) == 2 and list(attached) == networks
    assert attached[networks[1].signature] is networks[1]


def test_an_unknown_architecture_and_wrong_arguments_are_named():
    attached, network = AttachedNetworks("Probing"), traced()
    with pytest.raises(WeightspaceError, match=r"Probing: found a network of architecture abc, .*\(attached: none\)"):
        attached["abc"]
    with pytest.raises(WeightspaceError, match="under the key 'wrong', wanted its signature"):
        attached.add({"wrong": network})
    with pytest.raises(WeightspaceError, match=r"Probing\.attach: found a Linear, wanted TracedNetwork"):
        attached.add([nn.Linear(2, 2)])


def test_a_runner_is_kept_for_each_dtype_and_leaves_the_module_alone():
    attached, network = AttachedNetworks("Probing"), traced()
    attached.add([network])
    like = [torch.zeros(0), torch.zeros(0, dtype=torch.float64)]
    runners = [attached.runner(network.signature, like=tensor) for tensor in like]
    assert attached.runner(network.signature, like=like[0]) is runners[0] is not runners[1]
    assert next(network.module.parameters()).dtype == torch.float32
    other = copy.deepcopy(attached)
    assert len(other) == 1 and other.runner(network.signature, like=like[0]) is not runners[0]


def test_a_reader_is_told_by_its_method():
    class Reader(nn.Module):
        def attach(self, networks):
            pass

    assert isinstance(Reader(), NetworkReader) and not isinstance(nn.Linear(1, 1), NetworkReader)
