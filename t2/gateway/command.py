"""`t2 gateway`: what its settings say, checked before anything is loaded, and the server itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from t2.answering.planner import Planner
from t2.api.settings import AnswerSettings
from t2.budget_head import BudgetHead
from t2.errors import T2Error, quoted
from t2.policies.record import in_words

if TYPE_CHECKING:
    from t2.gateway.app import Gateway, Keys

PACKAGES = ("fastapi", "uvicorn", "httpx", "prometheus_client")
NO_LLM = "none"
_LOCAL_NAMES = ("localhost",)
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class GatewaySettings(AnswerSettings):
    """What the command says.

    Raises:
        T2Error: one makes no sense.
    """

    url: str
    """of the server behind, with or without /v1"""
    head: str
    """folder or hub id"""
    llm: str | None = None
    """folder or hub id of the LLM that the head reads; None: where the head says; "none": nobody reads prompts"""
    host: str = "127.0.0.1"
    port: int = 8100
    api_key_env: str = "OPENAI_API_KEY"
    """environment variable with the key of the server behind, for clients that send none"""
    client_key_env: str | None = None
    """environment variable with the key that clients must send; None: anyone who reaches the gateway is answered"""
    timeout: float = 600.0
    """seconds without a byte of the server behind until a request fails"""
    probe_timeout: float = 30.0
    """seconds until a question is answered without its activations"""
    most_at_once: int | None = None
    """samples that one request to the server behind may ask for; None: any number"""

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise T2Error(
                f"Expected `--url` as http://HOST:PORT of an OpenAI-compatible server, got {quoted(self.url)}."
            )
        if not 0 <= self.port < 65536:
            raise T2Error(f"Expected a `--port` from 0 to 65535, got {self.port}.")
        for name in ("timeout", "probe_timeout"):
            if not getattr(self, name) > 0:
                raise T2Error(f"Expected `--{name}` in seconds, more than 0, got {getattr(self, name)}.")
        if self.most_at_once is not None and self.most_at_once < 1:
            raise T2Error(f"Expected `--most_at_once` as a number of samples from 1 on, got {self.most_at_once}.")

    @property
    def base_url(self) -> str:
        """Without the /v1 that clients of OpenAI's protocol write: paths begin with it."""
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def is_local(self) -> bool:
        """Whether this machine alone reaches the gateway."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host in _LOCAL_NAMES

    def keys(self) -> Keys:
        """From the environment.

        Raises:
            T2Error: a variable that is named for clients is empty, or a key would be lent to anyone on the network.
        """
        from t2.gateway.app import Keys

        servers, clients = os.environ.get(self.api_key_env) or None, None
        if self.client_key_env is not None and not (clients := os.environ.get(self.client_key_env)):
            raise T2Error(
                f"Expected the key that clients must send in the environment variable {self.client_key_env}, got "
                "nothing. Set it, or leave out `--client_key_env`."
            )
        if servers is not None and clients is None and not self.is_local:
            raise T2Error(
                f"Expected `--client_key_env` for a gateway on {self.host}, got none: everyone who reaches it could "
                f"spend the key in {self.api_key_env}. Name a variable with a key for clients, or unset that one."
            )
        return Keys(servers, clients)


def check_packages() -> None:
    """Make sure that what the gateway needs is installed.

    Raises:
        T2Error: names what is missing, and the command that installs it.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise T2Error(
            f"Expected the packages of the gateway, got none of {', '.join(missing)}. "
            "Install them: pip install 't2-budget[gateway]'"
        )


def gateway_of(settings: GatewaySettings, head: BudgetHead) -> Gateway:
    """Load the LLM that the head reads, and put the gateway together.

    Raises:
        T2Error: no such LLM, or another one, or keys are not what they should be.
    """
    import httpx
    from prometheus_client import REGISTRY, Counter

    from t2.api.conversation import frame_of
    from t2.api.description import described
    from t2.api.parts import Parts
    from t2.gateway.app import Gateway
    from t2.gateway.prompt_probe import PromptProbe
    from t2.gateway.prompt_reader import PromptReader

    keys = settings.keys()
    planner = Planner(head, has_activations=settings.llm != NO_LLM)
    reads = planner.needs_activations
    prompts = PromptReader.of(head, settings.llm) if reads else None
    retries = Counter("t2_gateway_retries", "Requests to the server behind that were sent again", registry=REGISTRY)
    # Prompts that are rendered already are known by what is around their question, where it is this LLM's template.
    frame = None if prompts is None or prompts.is_proxy else frame_of(prompts.renderer)
    parts = Parts.of(planner, settings, settings.probe_timeout, frame)
    timeout = httpx.Timeout(settings.timeout, connect=_CONNECT_SECONDS, pool=None)
    # As many connections as there are clients: whoever waits for one here would wait for nothing. Idle ones are given
    # up before servers do so (uvicorn's after 5 s), since what is sent into a connection that ends is lost.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=2.0)
    name = os.path.basename(os.path.normpath(settings.head)) if os.path.isdir(settings.head) else settings.head
    about = described(planner, parts.reader, name)
    return Gateway(
        client=httpx.AsyncClient(base_url=settings.base_url, timeout=timeout, limits=limits, trust_env=False),
        parts=parts,
        probe=None if prompts is None else PromptProbe(prompts),
        keys=keys,
        about={**about, "policy": in_words(planner.policy), "prior": "the head's" if reads else "none"},
        registry=REGISTRY,
        on_retry=retries.inc,
        most_at_once=settings.most_at_once,
    )


def greeting(settings: GatewaySettings, gateway: Gateway, head: BudgetHead) -> Iterator[str]:
    """What is printed before the first request."""
    about = gateway.about
    yield f"T2 gateway on http://{settings.host}:{settings.port} for {settings.base_url}"
    yield f"Head {about['head']} of {about['model']}: {about['policy']}, N_ref {about['n_ref']}"
    if settings.shadow is not None:
        yield f"Shadow mode: requests get {settings.shadow} samples, and {settings.shadow_log} says what T2 would draw"
    if gateway.probe is not None:
        yield f"Prompts are read in this process, at layers {about['layers']}"
    elif head.reads_activations:
        yield "Nobody reads the prompts (`--llm none`): every question gets the plan of the training questions"
    if top_k := (head.record.sampling or {}).get("top_k"):
        yield f"The head's samples were drawn with top_k {top_k}, which OpenAI's protocol has no word for: set it there"


def run_gateway(settings: GatewaySettings, tell: Callable[[str], object]) -> None:
    """Serve until a signal comes; requests that run are answered first.

    Raises:
        T2Error: packages are missing, or head, LLM or keys are not what they should be.
    """
    check_packages()
    import uvicorn

    from t2.gateway.app import gateway_app

    head = BudgetHead.from_pretrained(settings.head)
    gateway = gateway_of(settings, head)
    for line in greeting(settings, gateway, head):
        tell(line)
    uvicorn.run(gateway_app(gateway), host=settings.host, port=settings.port, log_level="warning")
