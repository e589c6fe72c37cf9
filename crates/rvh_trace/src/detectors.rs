//! What is found out about the process that records, by OpenTelemetry's resource conventions.

use crate::{Resource, Value};

/// Adds what can be found out about process, host and container, and what is not known yet.
///
/// The command's arguments are left out, because they may hold credentials.
pub(crate) fn add_to(resource: &mut Resource) {
    let mut add = |key: &str, value: Value| {
        if resource.get(key).is_none() {
            resource.set(key, value);
        }
    };
    add("process.pid", Value::Int(i64::from(std::process::id())));
    let program = std::env::current_exe().ok();
    if let Some(name) = program.as_ref().and_then(|path| path.file_name()) {
        let name = name.to_string_lossy().into_owned();
        add("process.executable.name", Value::Str(name));
    }
    if let Some(name) = host_name() {
        add("host.name", Value::Str(name));
    }
    let read = |file| std::fs::read(format!("/proc/self/{file}")).unwrap_or_default();
    let in_kubernetes = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let container = Container::read(
        &String::from_utf8_lossy(&read("cgroup")),
        &String::from_utf8_lossy(&read("mountinfo")),
        in_kubernetes,
    );
    for (key, found) in [
        ("container.id", container.id),
        ("k8s.pod.uid", container.pod_uid),
        ("k8s.container.name", container.name_in_pod),
    ] {
        if let Some(text) = found {
            add(key, Value::Str(text));
        }
    }
}

fn host_name() -> Option<String> {
    let name = if cfg!(windows) {
        std::env::var("COMPUTERNAME").ok()
    } else {
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok()
    };
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}

/// What a container can know of itself.
#[derive(Debug, Default, PartialEq)]
struct Container {
    /// 64 hexadecimal digits.
    id: Option<String>,
    pod_uid: Option<String>,
    name_in_pod: Option<String>,
}

impl Container {
    /// Reads `/proc/self/cgroup` and `/proc/self/mountinfo`.
    ///
    /// Cgroups are named after the container; those of version 2 are mostly not seen from inside.
    /// Then mounts tell: Docker, Podman and nerdctl mount `/etc/hostname` and `/etc/resolv.conf` from
    /// a folder of the container's name. In a pod of Kubernetes these two are those of its sandbox,
    /// another container, whatever the runtime: its identifier would name the wrong one. So there
    /// only what is the container's own counts, volumes of the image (containerd) and secrets
    /// (CRI-O); where it has neither, the pod and the name in it, by which a backend finds it.
    fn read(cgroup: &str, mountinfo: &str, in_kubernetes: bool) -> Self {
        let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::read).collect();
        let mut found = Self::default();
        for mount in &mounts {
            match (mount.place, mount.in_pod()) {
                ("/etc/hosts", Some([uid, "etc-hosts"])) => {
                    found.pod_uid = Some((*uid).to_owned());
                }
                ("/dev/termination-log", Some([uid, "containers", name, _])) => {
                    found.pod_uid = Some((*uid).to_owned());
                    found.name_in_pod = Some((*name).to_owned());
                }
                _ => {}
            }
        }
        let in_pod = in_kubernetes || found.pod_uid.is_some();
        let of_mount = |mount: &Mount<'_>| {
            if in_pod {
                mount.own_in_pod()
            } else {
                mount.own()
            }
            .map(str::to_owned)
        };
        found.id = (cgroup.lines().find_map(id_of_cgroup).map(str::to_owned))
            .or_else(|| mounts.iter().find_map(of_mount));
        found
    }
}

/// The innermost folder of a cgroup that is named after a container, as in `docker-ID.scope`.
fn id_of_cgroup(line: &str) -> Option<&str> {
    line.rsplit('/').find_map(|folder| {
        let name = folder.strip_suffix(".scope").unwrap_or(folder);
        name.rsplit(['-', ':']).next().filter(|name| is_id(name))
    })
}

/// A line of mountinfo: what is mounted, by its folders, and where (`proc_pid_mountinfo(5)`).
struct Mount<'a> {
    source: Vec<&'a str>,
    place: &'a str,
}

impl<'a> Mount<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split(' ').skip(3);
        Some(Self {
            source: fields.next()?.split('/').collect(),
            place: fields.next()?,
        })
    }

    /// The folders from the pod's on, whose name is its UID, where kubelet has made the source.
    fn in_pod(&self) -> Option<&[&'a str]> {
        let at = self.source.iter().rposition(|folder| *folder == "pods")?;
        self.source.get(at + 1..)
    }

    /// The identifier of the container that it belongs to, outside of pods.
    fn own(&self) -> Option<&'a str> {
        // What is mounted elsewhere may be another container's.
        if !matches!(self.place, "/etc/hostname" | "/etc/resolv.conf") {
            return None;
        }
        // The last one: a Docker in Docker has the volume of the outer one before it.
        let at = self.source.iter().rposition(|folder| is_id(folder))?;
        let (before, _) = self.source.split_at(at);
        let named = |name| before.contains(&name);
        let of_container = named("containers") || named("overlay-containers");
        (of_container && !named("sandboxes")).then_some(self.source[at])
    }

    /// The same in a pod.
    fn own_in_pod(&self) -> Option<&'a str> {
        let own = self.source.windows(3).find(|folders| match folders[2] {
            "volumes" => folders[0] == "containers",
            "userdata" => folders[0] == "overlay-containers" && self.place == "/run/secrets",
            _ => false,
        });
        own.map(|folders| folders[1]).filter(|name| is_id(name))
    }
}

fn is_id(name: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.len() == 64 && name.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e8d0c5b6a79182736455463728190aabbccddeeff00112233445566778899";
    const OTHER: &str = "90817263544536271809f8e7d6c5b4a3928170615243342516070898a9bacbdc";
    const POD: &str = "7c1e2f54-9d0b-4c7c-8a3e-5b1f0e6d2a90";

    fn read(cgroup: &str, mountinfo: &str) -> Container {
        Container::read(cgroup, mountinfo, false)
    }

    fn id(cgroup: &str, mountinfo: &str) -> Option<String> {
        let container = read(cgroup, mountinfo);
        assert_eq!((container.pod_uid, container.name_in_pod), (None, None));
        container.id
    }

    #[test]
    fn a_cgroup_is_named_after_the_container() {
        for cgroup in [
            format!("12:cpu,cpuacct:/docker/{ID}\n11:memory:/docker/{ID}\n"),
            format!("1:name=systemd:/system.slice/docker-{ID}.scope"),
            format!("0::/kubepods/burstable/pod{POD}/{ID}"),
            format!("0::/kubepods.slice/kubepods-pod7c1e.slice/cri-containerd-{ID}.scope"),
            format!("0::/../cri-containerd-{ID}.scope"),
            format!("11:cpuset:/system.slice/containerd.service/a.slice:cri-containerd:{ID}"),
            format!("0::/machine.slice/libpod-{ID}.scope/container"),
            format!("5:pids:/kubepods.slice/a.slice/crio-{ID}.scope"),
            format!("4:pids:/docker/{OTHER}/docker/{ID}"),
        ] {
            assert_eq!(id(&cgroup, "").as_deref(), Some(ID), "{cgroup}");
        }
        for cgroup in ["", "0::/", "0::/user.slice/user-1000.slice/session-3.scope"] {
            assert_eq!(id(cgroup, ""), None, "{cgroup}");
        }
        assert_eq!(id(&format!("0::/{}", &ID[1..]), ""), None);
    }

    /// Mounts that tell nothing, as every container has them.
    const COMMON: &str = "\
812 700 0:61 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/l/A:/var/lib/l/B
813 812 0:64 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
814 812 0:65 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
815 812 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw
";

    #[test]
    fn mounts_tell_where_cgroups_of_version_2_do_not() {
        for source in [
            format!("/var/lib/docker/containers/{ID}/hostname"),
            // Docker Desktop, and a /var that is a disk of its own.
            format!("/docker/containers/{ID}/hostname"),
            format!("/var/lib/docker/volumes/{OTHER}/_data/containers/{ID}/hostname"),
            format!("/containers/storage/overlay-containers/{ID}/userdata/hostname"),
            format!("/var/lib/nerdctl/1935db59/containers/default/{ID}/hostname"),
        ] {
            let line = |place: &str| {
                format!("{COMMON}820 812 254:1 {source} {place} rw,relatime - ext4 /dev/vda1 rw\n")
            };
            let found = id("0::/\n", &line("/etc/hostname"));
            assert_eq!(found.as_deref(), Some(ID), "{source}");
            let found = id("0::/\n", &line("/etc/resolv.conf"));
            assert_eq!(found.as_deref(), Some(ID), "{source}");
            // What is mounted elsewhere may be another container's.
            assert_eq!(id("0::/\n", &line("/mnt")), None);
        }
        for mountinfo in ["", "\n", "1 2", "1 2 3 4", COMMON] {
            assert_eq!(id("0::/", mountinfo), None);
        }
    }

    /// A pod's mounts by kubelet and by containerd.
    fn pod() -> String {
        let kubelet = format!("/var/lib/kubelet/pods/{POD}");
        let sandbox = format!("/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{OTHER}");
        format!(
            "{COMMON}\
830 812 259:1 {kubelet}/etc-hosts /etc/hosts rw,relatime - xfs /dev/nvme0n1p1 rw
831 814 259:1 {kubelet}/containers/web/4c0dab3f /dev/termination-log rw - xfs /dev/nvme0n1p1 rw
832 812 259:1 {sandbox}/hostname /etc/hostname rw,relatime - xfs /dev/nvme0n1p1 rw
833 812 259:1 {sandbox}/resolv.conf /etc/resolv.conf rw,relatime - xfs /dev/nvme0n1p1 rw
834 814 0:58 / /dev/shm rw,relatime - tmpfs shm rw,size=65536k
835 812 0:55 / /run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw
"
        )
    }

    #[test]
    fn a_pods_sandbox_is_not_the_container() {
        let expected = Container {
            id: None,
            pod_uid: Some(POD.to_owned()),
            name_in_pod: Some("web".to_owned()),
        };
        assert_eq!(read("0::/\n", &pod()), expected);

        // Also with Docker and CRI-O, where its files look like those of the container.
        for source in [
            format!("/var/lib/docker/containers/{OTHER}/hostname"),
            format!("/containers/storage/overlay-containers/{OTHER}/userdata/hostname"),
        ] {
            let line = format!("840 812 254:1 {source} /etc/hostname rw - ext4 /dev/vda1 rw\n");
            let kubelet: String = pod()
                .lines()
                .filter(|l| !l.contains("sandboxes"))
                .fold(String::new(), |text, line| text + line + "\n");
            assert_eq!(read("0::/", &(kubelet + &line)), expected);
            assert_eq!(Container::read("0::/", &line, true), Container::default());
        }

        // Nor without kubelet.
        let sandboxes: Vec<_> = pod()
            .lines()
            .filter(|l| l.contains("sandboxes"))
            .map(str::to_owned)
            .collect();
        assert_eq!(id("0::/", &sandboxes.join("\n")), None);
    }

    #[test]
    fn what_is_the_containers_own_in_a_pod_tells() {
        for line in [
            format!(
                "850 812 259:1 /var/lib/containerd/io.containerd.grpc.v1.cri/containers/{ID}/volumes/\
                 {OTHER} /data rw,relatime - xfs /dev/nvme0n1p1 rw"
            ),
            format!(
                "851 812 0:23 /containers/storage/overlay-containers/{ID}/userdata/run/secrets \
                 /run/secrets rw,nosuid,nodev - tmpfs tmpfs rw,mode=755"
            ),
        ] {
            let found = read("0::/", &(pod() + &line));
            assert_eq!(found.id.as_deref(), Some(ID), "{line}");
            assert_eq!(found.pod_uid.as_deref(), Some(POD));
        }
        // A cgroup that is seen counts more.
        let found = read(&format!("0::/a/cri-containerd-{ID}.scope"), &pod());
        assert_eq!(found.id.as_deref(), Some(ID));
    }

    #[test]
    fn what_is_known_already_stays() {
        let mut resource = Resource::default();
        resource.set("host.name", Value::Str("mine".to_owned()));
        add_to(&mut resource);
        assert_eq!(
            resource.get("host.name"),
            Some(&Value::Str("mine".to_owned()))
        );
        let own = Value::Int(i64::from(std::process::id()));
        assert_eq!(resource.get("process.pid"), Some(&own));
        let Some(Value::Str(program)) = resource.get("process.executable.name") else {
            unreachable!("a test is a program")
        };
        assert!(program.starts_with("rvh_trace-"), "{program}");
    }
}
