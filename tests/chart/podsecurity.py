"""The Pod Security standard `restricted`, rule by rule, and a few rules of our own.

Written from the standard's text: every rule of `baseline` and of `restricted`, by a name of its own, so that
a test can show for each rule that breaking it is noticed. What a cluster's admission does is not replaced
by this: it looks at rendered documents.
"""

from chart import pod_of

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def containers(spec):
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or []


def own(part):
    return part.get("securityContext") or {}


def both(spec, key):
    """(where, value) of a field of the pod's and each container's securityContext."""
    yield "pod", own(spec).get(key)
    for container in containers(spec):
        yield container["name"], own(container).get(key)


def host_namespaces(_, spec):
    return [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]


def host_process(_, spec):
    return [where for where, value in both(spec, "windowsOptions") if (value or {}).get("hostProcess")]


def privileged(_, spec):
    return [c["name"] for c in containers(spec) if own(c).get("privileged")]


def host_path(_, spec):
    return [v["name"] for v in spec.get("volumes") or [] if "hostPath" in v]


def volume_types(_, spec):
    return [v["name"] for v in spec.get("volumes") or [] if not VOLUMES & v.keys()]


def host_ports(_, spec):
    return [c["name"] for c in containers(spec) for p in c.get("ports") or [] if p.get("hostPort")]


def host_probes(_, spec):
    found = []
    for container in containers(spec):
        handlers = [container.get(probe) for probe in PROBES]
        handlers += [(container.get("lifecycle") or {}).get(when) for when in ("postStart", "preStop")]
        for handler in filter(None, handlers):
            for door in ("httpGet", "tcpSocket"):
                if (handler.get(door) or {}).get("host"):
                    found.append(container["name"])
    return found


def app_armor(metadata, spec):
    found = [
        key
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith("container.apparmor.security.beta.kubernetes.io/")
        and value != "runtime/default"
        and not value.startswith("localhost/")
    ]
    return found + [
        where for where, value in both(spec, "appArmorProfile") if (value or {}).get("type") == "Unconfined"
    ]


def selinux(_, spec):
    return [
        where
        for where, value in both(spec, "seLinuxOptions")
        if (value or {}).get("type") not in SELINUX_TYPES
        or (value or {}).get("user")
        or (value or {}).get("role")
    ]


def proc_mount(_, spec):
    return [c["name"] for c in containers(spec) if own(c).get("procMount") not in (None, "Default")]


def sysctls(_, spec):
    return [s["name"] for s in own(spec).get("sysctls") or [] if s["name"] not in SYSCTLS]


def escalation(_, spec):
    return [c["name"] for c in containers(spec) if own(c).get("allowPrivilegeEscalation") is not False]


def non_root(_, spec):
    pod = own(spec).get("runAsNonRoot")
    return [c["name"] for c in containers(spec) if own(c).get("runAsNonRoot", pod) is not True]


def non_root_user(_, spec):
    return [where for where, value in both(spec, "runAsUser") if value == 0]


def seccomp(_, spec):
    pod = own(spec).get("seccompProfile")
    return [
        c["name"]
        for c in containers(spec)
        if (own(c).get("seccompProfile", pod) or {}).get("type") not in ("RuntimeDefault", "Localhost")
    ] + (["pod"] if (pod or {}).get("type") == "Unconfined" else [])


def drop_all(_, spec):
    return [
        c["name"]
        for c in containers(spec)
        if "ALL" not in ((own(c).get("capabilities") or {}).get("drop") or [])
    ]


def add_none(_, spec):
    return [
        c["name"]
        for c in containers(spec)
        if set((own(c).get("capabilities") or {}).get("add") or []) - {"NET_BIND_SERVICE"}
    ]


RESTRICTED = {
    "host namespaces": host_namespaces,
    "host process": host_process,
    "privileged containers": privileged,
    "host path volumes": host_path,
    "volume types": volume_types,
    "host ports": host_ports,
    "host of probes": host_probes,
    "AppArmor": app_armor,
    "SELinux": selinux,
    "/proc mount": proc_mount,
    "sysctls": sysctls,
    "privilege escalation": escalation,
    "running as non-root": non_root,
    "non-root user": non_root_user,
    "seccomp": seccomp,
    "capabilities dropped": drop_all,
    "capabilities added": add_none,
}


def read_only_root(_, spec):
    return [c["name"] for c in containers(spec) if own(c).get("readOnlyRootFilesystem") is not True]


def api_token(_, spec):
    return [] if spec.get("automountServiceAccountToken") is False else ["automountServiceAccountToken"]


def service_links(_, spec):
    return [] if spec.get("enableServiceLinks") is False else ["enableServiceLinks"]


def bounded_volumes(_, spec):
    return [
        v["name"]
        for v in spec.get("volumes") or []
        if "emptyDir" in v and not (v["emptyDir"] or {}).get("sizeLimit")
    ]


def bounded_memory(_, spec):
    return [
        c["name"]
        for c in containers(spec)
        if not ((c.get("resources") or {}).get("limits") or {}).get("memory")
    ]


OURS = {
    "read-only root": read_only_root,
    "no token of the cluster": api_token,
    "no variables of services": service_links,
    "bounded emptyDir": bounded_volumes,
    "bounded memory": bounded_memory,
}


def violations(doc, rules):
    """{rule: where} of what a document breaks; empty for documents without a pod."""
    pod = pod_of(doc)
    if pod is None:
        return {}
    found = {name: rule(*pod) for name, rule in rules.items()}
    return {name: where for name, where in found.items() if where}


def _in_pod(path, value):
    """A change that sets a field of the pod's spec; `c.` and `i.` begin at a container, an init container."""

    def change(doc):
        spec = doc["spec"]["template"]["spec"]
        keys = path.split(".")
        place = spec
        if keys[0] == "c":
            place, keys = spec["containers"][0], keys[1:]
        elif keys[0] == "i":
            spec["initContainers"] = [dict(spec["containers"][0], name="init")]
            place, keys = spec["initContainers"][0], keys[1:]
            place["securityContext"] = dict(own(place))
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if value is None:
            place.pop(keys[-1], None)
        else:
            place[keys[-1]] = value

    return change


def _volume(volume):
    return lambda doc: doc["spec"]["template"]["spec"]["volumes"].append(volume)


def _annotation(doc):
    annotations = doc["spec"]["template"]["metadata"].setdefault("annotations", {})
    annotations["container.apparmor.security.beta.kubernetes.io/pilothouse"] = "unconfined"


# (rule, how it is broken, the change): each must be noticed, by that very rule.
MUTATIONS = [
    ("host namespaces", "hostNetwork", _in_pod("hostNetwork", True)),
    ("host namespaces", "hostPID", _in_pod("hostPID", True)),
    ("host namespaces", "hostIPC", _in_pod("hostIPC", True)),
    ("host process", "windowsOptions", _in_pod("securityContext.windowsOptions", {"hostProcess": True})),
    ("privileged containers", "privileged", _in_pod("c.securityContext.privileged", True)),
    ("privileged containers", "a privileged init container", _in_pod("i.securityContext.privileged", True)),
    ("host path volumes", "hostPath", _volume({"name": "x", "hostPath": {"path": "/"}})),
    ("volume types", "nfs", _volume({"name": "x", "nfs": {"server": "a", "path": "/"}})),
    ("host ports", "hostPort", _in_pod("c.ports", [{"containerPort": 2222, "hostPort": 2222}])),
    ("host of probes", "httpGet.host", _in_pod("c.livenessProbe.httpGet.host", "192.0.2.1")),
    ("AppArmor", "the old annotation", _annotation),
    ("AppArmor", "appArmorProfile", _in_pod("c.securityContext.appArmorProfile", {"type": "Unconfined"})),
    ("SELinux", "a type", _in_pod("securityContext.seLinuxOptions", {"type": "spc_t"})),
    ("SELinux", "a user", _in_pod("c.securityContext.seLinuxOptions", {"user": "system_u"})),
    ("/proc mount", "Unmasked", _in_pod("c.securityContext.procMount", "Unmasked")),
    (
        "sysctls",
        "kernel.msgmax",
        _in_pod("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    ),
    ("privilege escalation", "true", _in_pod("c.securityContext.allowPrivilegeEscalation", True)),
    ("privilege escalation", "not said", _in_pod("c.securityContext.allowPrivilegeEscalation", None)),
    ("running as non-root", "not said", _in_pod("securityContext.runAsNonRoot", None)),
    ("running as non-root", "false in the container", _in_pod("c.securityContext.runAsNonRoot", False)),
    ("non-root user", "0 in the pod", _in_pod("securityContext.runAsUser", 0)),
    ("non-root user", "0 in an init container", _in_pod("i.securityContext.runAsUser", 0)),
    ("seccomp", "not said", _in_pod("securityContext.seccompProfile", None)),
    (
        "seccomp",
        "Unconfined in the container",
        _in_pod("c.securityContext.seccompProfile", {"type": "Unconfined"}),
    ),
    ("capabilities dropped", "none", _in_pod("c.securityContext.capabilities.drop", [])),
    ("capabilities dropped", "one alone", _in_pod("c.securityContext.capabilities.drop", ["NET_RAW"])),
    ("capabilities added", "SYS_ADMIN", _in_pod("c.securityContext.capabilities.add", ["SYS_ADMIN"])),
    ("read-only root", "not said", _in_pod("c.securityContext.readOnlyRootFilesystem", None)),
    ("no token of the cluster", "true", _in_pod("automountServiceAccountToken", True)),
    ("no variables of services", "not said", _in_pod("enableServiceLinks", None)),
    ("bounded emptyDir", "no limit", _volume({"name": "x", "emptyDir": {}})),
    ("bounded memory", "no limit", _in_pod("c.resources.limits.memory", None)),
]
