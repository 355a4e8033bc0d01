"""What Compose, Swarm, ECS and Nomad call a container, from label documents as they write them."""

from typing import Any

import pytest

from shim.core.docker.labels import service_of, version_of
from shim.core.docker.orchestrators import ORCHESTRATORS, Names, names_of
from tests.harness.fake_dockerd import make_container

ALLOCATION = "5a1d1b4e-7a4b-2f0e-7c41-0d3a0f5a9f10"
TASK = "arn:aws:ecs:eu-west-1:111122223333:task/prod/0c1d2e3f4a5b4c6d8e9f0a1b2c3d4e5f"
COMPOSE = {
    "com.docker.compose.config-hash": "b0ed21d1",
    "com.docker.compose.container-number": "1",
    "com.docker.compose.oneoff": "False",
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "web",
    "com.docker.compose.version": "2.26.1",
}
# `docker service create --name web`
SERVICE = {
    "com.docker.swarm.node.id": "zm1agvhaeyp5tf1np39qe7md6",
    "com.docker.swarm.service.id": "s7b4fvpen5pj7g6956vbx551c",
    "com.docker.swarm.service.name": "web",
    "com.docker.swarm.task": "",
    "com.docker.swarm.task.id": "sx2hjhc487qka6ol6qd2q0k5v",
    "com.docker.swarm.task.name": "web.1.sx2hjhc487qka6ol6qd2q0k5v",
}
# `docker stack deploy --compose-file compose.yaml shop`
STACK = {
    **SERVICE,
    "com.docker.stack.namespace": "shop",
    "com.docker.swarm.service.name": "shop_web",
    "com.docker.swarm.task.name": "shop_web.1.sx2hjhc487qka6ol6qd2q0k5v",
}
ECS = {
    "com.amazonaws.ecs.cluster": "prod",
    "com.amazonaws.ecs.container-name": "web",
    "com.amazonaws.ecs.task-arn": TASK,
    "com.amazonaws.ecs.task-definition-family": "shop",
    "com.amazonaws.ecs.task-definition-version": "42",
}
# Without `extra_labels`, and with all of them.
BARE_NOMAD = {"com.hashicorp.nomad.alloc_id": ALLOCATION}
NOMAD = {
    **BARE_NOMAD,
    "com.hashicorp.nomad.job_id": "shop",
    "com.hashicorp.nomad.job_name": "shop",
    "com.hashicorp.nomad.namespace": "europe",
    "com.hashicorp.nomad.node_id": "2ae1",
    "com.hashicorp.nomad.node_name": "host-1",
    "com.hashicorp.nomad.task_group_name": "front",
    "com.hashicorp.nomad.task_name": "web",
}
DOCUMENTS = {
    "shop-web-1": (COMPOSE, "web", "shop", {}),
    "web.1.sx2hjhc487qka6ol6qd2q0k5v": (
        SERVICE,
        "web",
        "",
        {
            "swarm_node": SERVICE["com.docker.swarm.node.id"],
            "swarm_task": SERVICE["com.docker.swarm.task.name"],
        },
    ),
    "shop_web.1.sx2hjhc487qka6ol6qd2q0k5v": (
        STACK,
        "web",
        "shop",
        {"swarm_node": STACK["com.docker.swarm.node.id"], "swarm_task": STACK["com.docker.swarm.task.name"]},
    ),
    "ecs-shop-42-web-d6b9a4e8c6f5d3a1b700": (ECS, "web", "shop", {"ecs_task": TASK}),
    f"web-{ALLOCATION}": (NOMAD, "web", "shop", {"namespace": "europe"}),
}


def container(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return make_container(name, labels=labels)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_names_its_containers_after_the_service(name: str) -> None:
    labels, service, environment, more = DOCUMENTS[name]
    found = service_of(container(name, labels))
    assert (found.name, found.environment, found.container) == (service, environment, name)
    others = {"namespace": "", "swarm_node": "", "swarm_task": "", "ecs_task": ""}
    assert {field: getattr(found, field) for field in others} == {**others, **more}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_our_label_counts_more_and_the_rest_stays(name: str) -> None:
    labels = DOCUMENTS[name][0]
    theirs = service_of(container(name, labels))
    named = service_of(container(name, {**labels, "ServiceName": "front"}))
    # The environment goes with the name.
    assert named == theirs._replace(name="front", environment="")
    placed = service_of(container(name, {**labels, "EnvironmentName": "prod"}))
    assert placed == theirs._replace(environment="prod")


def test_the_same_compose_file_gives_the_same_names_by_compose_and_by_swarm() -> None:
    by_compose, by_swarm = service_of(container("a", COMPOSE)), service_of(container("b", STACK))
    assert by_compose[:2] == by_swarm[:2] == ("web", "shop")


def test_a_new_deployment_has_the_old_ones_name() -> None:
    again = {**SERVICE, "com.docker.swarm.task.name": "web.1.otherotherotherotherother"}
    before, after = (service_of(container("x", labels)) for labels in (SERVICE, again))
    assert before[:2] == after[:2] and before != after


@pytest.mark.parametrize(
    ("labels", "name", "service"),
    [
        (BARE_NOMAD, f"web-{ALLOCATION}", "web"),
        (BARE_NOMAD, "renamed", "renamed"),
        (BARE_NOMAD, f"-{ALLOCATION}", f"-{ALLOCATION}"),
        ({"com.hashicorp.nomad.alloc_id": ""}, "web-", "web-"),
        ({**STACK, "com.docker.stack.namespace": "sho"}, "x", "shop_web"),
        ({**STACK, "com.docker.swarm.service.name": "shop_"}, "x", "x"),
        ({"com.docker.stack.namespace": "shop"}, "x", "x"),
        ({"com.amazonaws.ecs.task-definition-family": "shop"}, "x", "x"),
    ],
)
def test_what_says_too_little_is_called_as_docker_calls_it(
    labels: dict[str, str], name: str, service: str
) -> None:
    found = service_of(container(name, labels))
    assert found.name == service
    assert found.environment == (labels["com.docker.stack.namespace"] if service == "shop_web" else "")


def test_the_first_that_names_it_counts() -> None:
    labels: dict[str, str] = {}
    order = []
    for document in (NOMAD, ECS, STACK, COMPOSE):
        labels.update(document)
        order.append(names_of(labels, "x"))
    assert [names.environment for names in order] == ["shop"] * 4
    assert [(bool(n.namespace), bool(n.ecs_task), bool(n.swarm_task)) for n in order] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (False, False, False),
    ]
    assert [row.name for row in ORCHESTRATORS] == ["Compose", "Swarm", "Amazon ECS", "Nomad"]
    assert names_of({}, "x") == Names()


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("nginx:1.25", "1.25"),
        ("registry.test:5000/shop/web:2", "2"),
        ("registry.test:5000/shop/web", ""),
        ("nginx:1.25@sha256:" + "ab" * 32, "1.25"),
        ("nginx@sha256:" + "ab" * 32, ""),
        ("nginx", ""),
        ("sha256:" + "ab" * 32, ""),
        ("", ""),
    ],
)
def test_a_version_is_the_images_tag(image: str, version: str) -> None:
    assert version_of(image) == version
    assert service_of({**container("x", {}), "Image": image}).version == version
