//! Payloads as four kinds of services send them, the same at each run: what compresses as logs do.
//!
//! Each payload is an `ExportLogsServiceRequest` of one service, with its resource attributes. What repeats in real
//! logs repeats here: hosts, paths, classes and messages are drawn from lists with few frequent and many rare members;
//! what does not (addresses, durations, ids of traces and requests) is random. Times go on by some milliseconds a
//! record.
//!
//! - nginx: access lines as text. - app: JSON lines as text, with the trace in the record. - k8s: klog lines of system
//!   components, with attributes of the pod. - java: text with a stack trace of 20 to 60 frames in one of ten records.

/// A kind of service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Nginx,
    App,
    K8s,
    Java,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Nginx, Self::App, Self::K8s, Self::Java];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::App => "app, JSON",
            Self::K8s => "k8s",
            Self::Java => "java",
        }
    }
}

const METHODS: [&str; 6] = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];
const WORDS: [&str; 32] = [
    "order", "cart", "user", "invoice", "payment", "session", "catalog", "item", "search", "price", "stock",
    "shipment", "address", "coupon", "review", "account", "token", "profile", "image", "report", "export", "webhook",
    "event", "queue", "batch", "ledger", "refund", "quote", "basket", "wishlist", "login", "health",
];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "curl/8.11.0",
    "Go-http-client/2.0",
    "kube-probe/1.31",
];
const MESSAGES: [&str; 8] = [
    "request completed",
    "cache miss",
    "retrying call to upstream",
    "row updated",
    "message published",
    "permission checked",
    "slow query",
    "validation failed",
];
const COMPONENTS: [&str; 6] = [
    "kubelet.go:2454] \"SyncLoop (PLEG): event for pod\"",
    "reconciler_common.go:245] \"operationExecutor.VerifyControllerAttachedVolume started for volume\"",
    "prober.go:107] \"Probe failed\" probeType=\"Readiness\"",
    "scheduler.go:662] \"Successfully bound pod to node\"",
    "garbagecollector.go:549] \"Processing item\"",
    "httplog.go:132] \"HTTP\" verb=\"PATCH\" resp=200",
];

/// A generator of payloads.
pub(crate) struct Corpus {
    state: u64,
    now_ns: u64,
}

impl Corpus {
    pub(crate) fn new() -> Self {
        Self {
            state: 0x9E37_79B9_7F4A_7C15,
            now_ns: 1_795_402_800_000_000_000,
        }
    }

    /// The next payload of some records of a service of this kind.
    pub(crate) fn payload(&mut self, kind: Kind, records: u32) -> Vec<u8> {
        let host = self.frequent(12);
        let service = format!(
            "{}-{}",
            WORDS[self.frequent(8)],
            kind.name().split(',').next().unwrap_or_default()
        );
        let pod = format!("{service}-7d9c5b{:04x}-{:05x}", host * 77, host * 7919);
        let mut resource = Vec::new();
        for (key, value) in [
            ("service.name", service.as_str()),
            ("host.name", &format!("node-{host}.eu-west-1.example.net")),
            ("k8s.namespace.name", "production"),
            ("k8s.pod.name", &pod),
            ("telemetry.sdk.language", "rust"),
        ] {
            field(&mut resource, 1, &attribute(key, value));
        }
        let mut scope = Vec::new();
        for _ in 0..records {
            let record = self.record(kind, &pod);
            field(&mut scope, 2, &record);
        }
        let mut of_resource = Vec::new();
        field(&mut of_resource, 1, &resource);
        field(&mut of_resource, 2, &scope);
        let mut out = Vec::new();
        field(&mut out, 1, &of_resource);
        out
    }

    fn record(&mut self, kind: Kind, pod: &str) -> Vec<u8> {
        self.now_ns += 200_000 + self.random() % 5_000_000;
        let (severity, body) = match kind {
            Kind::Nginx => (9, self.nginx()),
            Kind::App => (9, self.app()),
            Kind::K8s => (9, self.k8s(pod)),
            Kind::Java => self.java(),
        };
        let mut record = vec![9];
        record.extend_from_slice(&self.now_ns.to_le_bytes());
        record.extend_from_slice(&[16, severity]);
        field(&mut record, 3, if severity > 12 { b"ERROR" } else { b"INFO" });
        let mut value = Vec::new();
        field(&mut value, 1, body.as_bytes());
        field(&mut record, 5, &value);
        field(
            &mut record,
            6,
            &attribute("log.file.path", &format!("/var/log/pods/{pod}/0.log")),
        );
        if kind == Kind::App {
            let (high, low) = (self.random(), self.random());
            field(&mut record, 9, &[high.to_le_bytes(), low.to_le_bytes()].concat());
            field(&mut record, 10, &self.random().to_le_bytes());
        }
        record
    }

    fn nginx(&mut self) -> String {
        let status = [200, 200, 200, 200, 304, 201, 404, 499, 502][self.frequent(9)];
        format!(
            "10.{}.{}.{} - - [24/Nov/2026:02:{:02}:{:02} +0000] \"{} /api/v1/{}/{} HTTP/1.1\" {status} {} \"-\" \"{}\" {:.3}",
            self.random() % 4,
            self.random() % 256,
            self.random() % 256,
            self.now_ns / 60_000_000_000 % 60,
            self.now_ns / 1_000_000_000 % 60,
            METHODS[self.frequent(6)],
            WORDS[self.frequent(32)],
            self.random() % 100_000,
            self.random() % 20_000,
            AGENTS[self.frequent(6)],
            (self.random() % 900) as f64 / 1000.0,
        )
    }

    fn app(&mut self) -> String {
        format!(
            "{{\"level\":\"info\",\"ts\":{}.{:03},\"caller\":\"{}/handler.go:{}\",\"msg\":\"{}\",\"request_id\":\"{:016x}{:016x}\",\
             \"user_id\":{},\"{}_id\":{},\"duration_ms\":{},\"tenant\":\"{}\"}}",
            self.now_ns / 1_000_000_000,
            self.now_ns / 1_000_000 % 1000,
            WORDS[self.frequent(12)],
            40 + self.frequent(200),
            MESSAGES[self.frequent(8)],
            self.random(),
            self.random(),
            self.frequent(50_000),
            WORDS[self.frequent(12)],
            self.random() % 1_000_000,
            self.random() % 400,
            WORDS[self.frequent(32)],
        )
    }

    fn k8s(&mut self, pod: &str) -> String {
        format!(
            "I1124 02:{:02}:{:02}.{:06} {:>7} {} pod=\"production/{pod}\" containerID=\"{:016x}\" latency=\"{}.{:03}ms\"",
            self.now_ns / 60_000_000_000 % 60,
            self.now_ns / 1_000_000_000 % 60,
            self.now_ns / 1000 % 1_000_000,
            1000 + self.frequent(9),
            COMPONENTS[self.frequent(6)],
            self.random(),
            self.random() % 90,
            self.random() % 1000,
        )
    }

    fn java(&mut self) -> (u8, String) {
        let class = |word: &str| {
            format!(
                "com.example.shop.{word}.{}{}Service",
                word[..1].to_uppercase(),
                &word[1..]
            )
        };
        let first = WORDS[self.frequent(16)];
        let mut text = format!(
            "2026-11-24 02:{:02}:{:02},{:03} [http-nio-8080-exec-{}] {} - {} id={}",
            self.now_ns / 60_000_000_000 % 60,
            self.now_ns / 1_000_000_000 % 60,
            self.now_ns / 1_000_000 % 1000,
            self.random() % 32,
            class(first),
            MESSAGES[self.frequent(8)],
            self.random() % 1_000_000,
        );
        if !self.random().is_multiple_of(10) {
            return (9, text);
        }
        text += "\njava.lang.IllegalStateException: cannot apply change\n";
        for _ in 0..20 + self.frequent(40) {
            let word = WORDS[self.frequent(32)];
            text += &format!(
                "\tat {}.{}(Service.java:{})\n",
                class(word),
                ["apply", "handle", "doFilter", "invoke", "proceed"][self.frequent(5)],
                20 + self.frequent(400),
            );
        }
        (17, text)
    }

    /// One of the numbers below `count`, small ones more often.
    fn frequent(&mut self, count: usize) -> usize {
        let unit = (self.random() >> 11) as f64 / (1u64 << 53) as f64;
        ((unit * unit * unit) * count as f64) as usize
    }

    fn random(&mut self) -> u64 {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// A field of protobuf that holds bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut len = bytes.len();
    while len > 127 {
        out.push(len as u8 | 128);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}

/// A `KeyValue` with a string.
fn attribute(key: &str, value: &str) -> Vec<u8> {
    let (mut out, mut any) = (Vec::new(), Vec::new());
    field(&mut any, 1, value.as_bytes());
    field(&mut out, 1, key.as_bytes());
    field(&mut out, 2, &any);
    out
}
