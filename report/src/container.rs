//! The container that a cgroup belongs to: container runtimes have its id in the path.

/// The last part of the path that has a container's id: 64 hexadecimal digits, as Docker, containerd, CRI-O and Podman give
/// them, with whatever stands around them, such as `docker-….scope`.
pub fn id(cgroup: &str) -> Option<&str> {
    const DIGITS: usize = 64;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let find = |part: &'_ str| {
        let runs = part.as_bytes().chunk_by(|a, b| is_digit(a) == is_digit(b));
        let mut at = 0;
        for run in runs {
            if run.len() == DIGITS && is_digit(&run[0]) {
                return Some(at);
            }
            at += run.len();
        }
        None
    };
    cgroup.rsplit('/').find_map(|part| find(part).and_then(|at| part.get(at..at + DIGITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids of the usual runtimes are found, those of pods and users are none.
    #[test]
    fn ids_of_containers() {
        let digits = "0123456789abcdef".repeat(4);
        let found = |path: &str| id(&path.replace("ID", &digits)).map(str::to_owned);
        for path in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/kubepods.slice/kubepods-pod1a_2b.slice/cri-containerd-ID.scope/init",
            "/machine.slice/libpod-ID.scope/container",
        ] {
            assert_eq!(found(path), Some(digits.clone()), "{path}");
        }
        for path in ["", "/", "/user.slice/user-1000.slice", "/docker/IDa", "/é/IDID"] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
