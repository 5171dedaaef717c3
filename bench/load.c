// The two ends of a benchmark, so cheap that the proxy between them is what is measured. Linux only (epoll, timerfd).
//
//   load upstream PORT GAP_US BLOCKS   answers POSTs until it is killed: whole, or as a stream of one event per gap
//   load load PORT CONNECTIONS         obeys `run SECONDS SPREAD_US LIMIT_S REQUEST ANSWER` lines, each answered in JSON
//
// BLOCKS holds raw HTTP bytes, each block behind a line with its length: a whole answer, the start of a stream, its
// end, and then the events between, which are sent in turn until the request's max_tokens are used up. REQUEST is a
// file with a raw HTTP request, whose first @COUNT@000000000 gets another number each time; ANSWER is one with what every
// answer's body must be, byte for byte; with `-` only its status and its end are checked.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 16384, READ_BYTES = 1 << 18, TAIL_BYTES = 64, BATCH = 256, BLOCKS_MAX = 1024, COUNT_DIGITS = 9 };

static const int64_t SECOND = 1000000000;

struct bytes {
    char *data;
    size_t len, cap;
};

enum reading { START, FIELDS, BODY, SIZE, CHUNK, CHUNK_END, TRAILER };

struct conn {
    int fd;
    bool broken, armed;

    enum reading reading;
    struct bytes line;
    size_t left;
    bool chunked;
    int status;

    struct bytes out;
    size_t out_at;

    // upstream
    struct bytes request;
    size_t slot, event, events;
    int64_t due;

    // load
    bool busy;
    int64_t begin, sent, first;
    size_t got, matched;
    bool differs;
    char tail[TAIL_BYTES];
};

static int epoll, timer;
static void (*on_body)(struct conn *, const char *, size_t);
static void (*on_end)(struct conn *);

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void reserve(struct bytes *b, size_t more) {
    if (b->len + more <= b->cap) return;
    b->cap = (b->len + more) * 2;
    b->data = realloc(b->data, b->cap);
    if (!b->data) die("realloc");
}

static void append(struct bytes *b, const void *data, size_t len) {
    reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static struct bytes slurp(const char *path) {
    struct bytes b = {0};
    FILE *f = fopen(path, "rb");
    if (!f) die(path);
    size_t n;
    do {
        reserve(&b, 65536);
        n = fread(b.data + b.len, 1, 65536, f);
        b.len += n;
    } while (n);
    fclose(f);
    return b;
}

static void wake_at(int64_t when) {  // 0: not at all
    struct itimerspec t = {.it_value = {when / SECOND, when % SECOND}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &t, NULL);
}

// ---- reading one HTTP/1.1 message after the other, requests and responses alike

static void message_ends(struct conn *c) {
    c->reading = START;
    on_end(c);
}

static void head_ends(struct conn *c) {
    if (c->status / 100 == 1) c->reading = START;
    else if (c->chunked) c->reading = SIZE;
    else if (c->left) c->reading = BODY;
    else message_ends(c);
}

static void take_line(struct conn *c, const char *line, size_t len) {
    static const char length[] = "content-length:", coding[] = "transfer-encoding:";
    switch (c->reading) {
    case START:
        if (!len) return;
        c->status = len > 9 && !memcmp(line, "HTTP/", 5) ? atoi(line + 9) : 0;
        c->left = 0;
        c->chunked = false;
        c->reading = FIELDS;
        return;
    case FIELDS:
        if (!len) head_ends(c);
        else if (len >= sizeof length && !strncasecmp(line, length, sizeof length - 1))
            c->left = strtoull(line + sizeof length - 1, NULL, 10);
        else if (len >= sizeof coding && !strncasecmp(line, coding, sizeof coding - 1))
            c->chunked = true;
        return;
    case SIZE:
        c->left = strtoull(line, NULL, 16);
        c->reading = c->left ? CHUNK : TRAILER;
        return;
    case CHUNK_END:
        c->broken = len > 0;
        c->reading = SIZE;
        return;
    default:
        if (!len) message_ends(c);
    }
}

static size_t take_piece_of_line(struct conn *c, const char *data, size_t n) {
    const char *end = memchr(data, '\n', n);
    size_t took = end ? (size_t)(end - data) + 1 : n;
    if (!end || c->line.len) {
        append(&c->line, data, took);
        if (c->line.len > LINE_MAX_BYTES) c->broken = true;
        if (!end) return took;
        data = c->line.data;
        end = data + c->line.len - 1;
        c->line.len = 0;
    }
    if (end > data && end[-1] == '\r') take_line(c, data, (size_t)(end - data) - 1);
    else c->broken = true;
    return took;
}

static size_t take_piece_of_body(struct conn *c, const char *data, size_t n) {
    size_t took = n < c->left ? n : c->left;
    on_body(c, data, took);
    c->left -= took;
    if (c->left) return took;
    if (c->reading == CHUNK) c->reading = CHUNK_END;
    else message_ends(c);
    return took;
}

static void take(struct conn *c) {
    static char piece[READ_BYTES];
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) c->broken = true;
    for (ssize_t at = 0; at < n && !c->broken;) {
        bool body = c->reading == BODY || c->reading == CHUNK;
        at += body ? take_piece_of_body(c, piece + at, n - at) : take_piece_of_line(c, piece + at, n - at);
    }
}

// ---- writing without ever waiting

static void watch(struct conn *c, bool writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    if (c->armed && epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e)) die("epoll_ctl");
    if (!c->armed && epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
    c->armed = true;
}

static size_t try_send(struct conn *c, const char *data, size_t len) {
    ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) c->broken = true;
    return n < 0 ? 0 : (size_t)n;
}

static void put(struct conn *c, struct bytes what) {
    size_t sent = c->out.len ? 0 : try_send(c, what.data, what.len);
    if (sent == what.len) return;
    if (!c->out.len) watch(c, true);
    append(&c->out, what.data + sent, what.len - sent);
}

static void flush(struct conn *c) {
    c->out_at += try_send(c, c->out.data + c->out_at, c->out.len - c->out_at);
    if (c->out_at < c->out.len) return;
    c->out.len = c->out_at = 0;
    watch(c, false);
}

static void forget(struct conn *c) {
    close(c->fd);
    free(c->line.data);
    free(c->out.data);
    free(c->request.data);
}

static int stream_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
}

static void prepare(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1);
    epoll = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &timer};
    if (epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &e)) die("epoll");
}

static void timer_rang(void) {
    uint64_t times;
    if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN) die("timerfd");
}

// ---- the upstream

static struct bytes whole, opening, ending, between[BLOCKS_MAX];
static size_t kinds, streams;
static struct conn *streaming[65536];
static int64_t gap;

static void read_blocks(const char *path) {
    struct bytes file = slurp(path);
    struct bytes *places[] = {&whole, &opening, &ending};
    for (size_t at = 0, count = 0; at < file.len; count++) {
        char *after;
        size_t len = strtoull(file.data + at, &after, 10);
        at = (size_t)(after - file.data) + 1;
        if (!len || at + len > file.len || count == BLOCKS_MAX) die("blocks");
        *(count < 3 ? places[count] : &between[kinds++]) = (struct bytes){file.data + at, len, len};
        at += len;
    }
    if (!kinds) die("blocks");
}

// What is asked for stands at the end of a real request; the search through the whole body is for other clients.
static const char *field(const struct bytes *body, const char *name) {
    size_t skip = body->len > 512 ? body->len - 512 : 0;
    const char *found = memmem(body->data + skip, body->len - skip, name, strlen(name));
    if (!found) found = memmem(body->data, body->len, name, strlen(name));
    return found ? found + strlen(name) : NULL;
}

static void collect(struct conn *c, const char *data, size_t n) {
    append(&c->request, data, n);
}

static void leave_stream(struct conn *c) {
    streaming[c->slot] = streaming[--streams];
    streaming[c->slot]->slot = c->slot;
    c->events = 0;
}

static void answer(struct conn *c) {
    append(&c->request, "", 1);
    const char *stream = field(&c->request, "\"stream\":"), *tokens = field(&c->request, "\"max_tokens\":");
    stream = stream ? stream + strspn(stream, " ") : "";
    if (!strncmp(stream, "true", 4)) {
        put(c, opening);
        c->event = 0;
        c->events = tokens && atoi(tokens) > 0 ? (size_t)atoi(tokens) : 1;
        c->due = now() + gap;
        if (streams == sizeof streaming / sizeof *streaming) die("too many streams");
        streaming[c->slot = streams++] = c;
    } else {
        put(c, whole);
    }
    c->request.len = 0;
}

// The gaps vary by a quarter, so that streams do not fall into step; the first is exact, for the time to first token.
static int64_t next_gap(void) {
    static uint32_t dice = 1;
    dice = dice * 1664525 + 1013904223;
    return gap * 3 / 4 + (int64_t)(dice >> 16) * gap / 2 / 65536;
}

static void tick(void) {
    int64_t time = now(), next = 0;
    for (size_t i = 0; i < streams;) {
        struct conn *c = streaming[i];
        if (c->due <= time) {
            bool over = c->event == c->events;
            put(c, over ? ending : between[c->event++ % kinds]);
            c->due += next_gap();
            if (over || c->broken) {
                leave_stream(c);
                continue;
            }
        }
        if (!next || c->due < next) next = c->due;
        i++;
    }
    wake_at(next);
}

static int listen_on(int port) {
    int fd = stream_socket();
    struct sockaddr_in address = loopback(port);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024)) die("listen");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &epoll};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
    return fd;
}

static void welcome(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    struct conn *c = calloc(1, sizeof *c);
    if (!c) die("calloc");
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->fd = fd;
    watch(c, false);
}

static void serve(int port) {
    on_body = collect;
    on_end = answer;
    int listener = listen_on(port);
    for (struct epoll_event events[BATCH];;) {
        int n = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].data.ptr == &timer) timer_rang();
            else if (events[i].data.ptr == &epoll) welcome(listener);
            else {
                if (events[i].events & EPOLLOUT) flush(c);
                if (events[i].events & ~EPOLLOUT) take(c);
                if (!c->broken) continue;
                if (c->events) leave_stream(c);
                forget(c);
                free(c);
            }
        }
        tick();
    }
}

// ---- the load generator

struct times {
    int64_t *data;
    size_t len, cap;
};

static struct {
    struct bytes request, expected;
    char *count;
    bool stream, exact;
    int64_t until;
    size_t busy, waiting;
    size_t answers, errors;
    char error[200];
    struct times first, last;
} run;

static struct conn *conns;
static size_t connections;
static int target;

static void note(struct times *t, int64_t value) {
    if (t->len == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 4096;
        t->data = realloc(t->data, t->cap * sizeof *t->data);
        if (!t->data) die("realloc");
    }
    t->data[t->len++] = value;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile(struct times *t, int percent) {  // in milliseconds; t is sorted
    return t->len ? t->data[(t->len - 1) * percent / 100] / 1e6 : 0;
}

static void dial(struct conn *c) {
    struct sockaddr_in address = loopback(target);
    *c = (struct conn){.fd = stream_socket()};
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK)) die("fcntl");
    watch(c, false);
}

// Different requests, as those of a conversation that goes on are. What was not sent at once is a copy already.
static void count_up(void) {
    static unsigned number;
    char digits[COUNT_DIGITS + 1];
    snprintf(digits, sizeof digits, "%0*u", COUNT_DIGITS, number++ % 1000000000u);
    memcpy(run.count, digits, COUNT_DIGITS);
}

static void ask(struct conn *c) {
    c->busy = true;
    c->first = 0;
    c->got = c->matched = 0;
    c->differs = false;
    memset(c->tail, 0, sizeof c->tail);
    if (run.count) count_up();
    c->sent = now();
    put(c, run.request);
}

static void blame(struct conn *c, const char *what) {
    if (!run.errors++)
        snprintf(run.error, sizeof run.error, "%s: status %d, %zu of %zu bytes", what, c->status, c->got,
                 run.expected.len);
}

// `delta"` first stands in the type of the first content_block_delta; no other letter of it is a `d`.
static void look_for_first(struct conn *c, const char *data, size_t n) {
    static const char needle[] = "delta\"";
    for (size_t i = 0; i < n && !c->first; i++) {
        c->matched = data[i] == needle[c->matched] ? c->matched + 1 : data[i] == *needle;
        if (c->matched == sizeof needle - 1) c->first = now();
    }
}

static void compare(struct conn *c, const char *data, size_t n) {
    size_t left = run.expected.len - c->got;
    c->differs |= c->got > run.expected.len || n > left || memcmp(run.expected.data + c->got, data, n);
}

static void keep_tail(struct conn *c, const char *data, size_t n) {
    size_t kept = n < TAIL_BYTES ? n : TAIL_BYTES;
    memmove(c->tail, c->tail + kept, TAIL_BYTES - kept);
    memcpy(c->tail + TAIL_BYTES - kept, data + n - kept, kept);
}

static void weigh(struct conn *c, const char *data, size_t n) {
    if (run.exact) compare(c, data, n);
    c->got += n;
    keep_tail(c, data, n);
    if (run.stream) look_for_first(c, data, n);
}

static void judge(struct conn *c) {
    int64_t time = now();
    const char *tail = c->tail + TAIL_BYTES;
    bool ended = run.stream ? memmem(c->tail, TAIL_BYTES, "message_stop", 12) && tail[-1] == '\n' : tail[-1] == '}';
    if (c->status != 200) blame(c, "status");
    else if (run.exact && (c->differs || c->got != run.expected.len)) blame(c, "other bytes");
    else if (!ended || (run.stream && !c->first)) blame(c, "end");
    run.answers++;
    note(&run.last, time - c->sent);
    if (c->first) note(&run.first, c->first - c->sent);
    c->busy = false;
    if (time < run.until && run.errors < 10) ask(c);
    else run.busy--;
}

static void mend(struct conn *c) {
    if (c->busy) {
        blame(c, "cut");
        run.busy--;
    }
    forget(c);
    dial(c);
}

static void start_due(void) {
    int64_t time = now();
    for (; run.waiting && conns[connections - run.waiting].begin <= time; run.waiting--)
        ask(&conns[connections - run.waiting]);
    if (run.waiting) wake_at(conns[connections - run.waiting].begin);
}

static void perform(double seconds, int64_t spread, int64_t limit) {
    int64_t begin = now();
    run.until = begin + (int64_t)(seconds * SECOND);
    run.busy = run.waiting = connections;
    for (size_t i = 0; i < connections; i++) conns[i].begin = begin + spread * (int64_t)i / (int64_t)connections;
    start_due();
    for (struct epoll_event events[BATCH]; run.busy;) {
        int n = epoll_wait(epoll, events, BATCH, 1000);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].data.ptr == &timer) timer_rang();
            else {
                if (events[i].events & EPOLLOUT) flush(c);
                if (events[i].events & ~EPOLLOUT) take(c);
                if (c->broken) mend(c);
            }
        }
        start_due();
        if (now() - begin > limit) {
            fprintf(stderr, "%zu of %zu connections had no answer in time\n", run.busy, connections);
            exit(1);
        }
    }
    qsort(run.first.data, run.first.len, sizeof(int64_t), ascending);
    qsort(run.last.data, run.last.len, sizeof(int64_t), ascending);
    printf("{\"seconds\": %.6f, \"answers\": %zu, \"errors\": %zu, \"error\": \"%s\", "
           "\"first_p50_ms\": %.4f, \"last_p50_ms\": %.4f, \"last_p99_ms\": %.4f}\n",
           (double)(now() - begin) / SECOND, run.answers, run.errors, run.error, percentile(&run.first, 50),
           percentile(&run.last, 50), percentile(&run.last, 99));
    fflush(stdout);
}

static void obey(int port, size_t count) {
    on_body = weigh;
    on_end = judge;
    target = port;
    connections = count;
    conns = calloc(count, sizeof *conns);
    if (!conns) die("calloc");
    for (size_t i = 0; i < count; i++) dial(&conns[i]);
    double seconds, limit;
    long spread;
    char request[4096], answer[4096];
    while (scanf(" run %lf %ld %lf %4095s %4095s", &seconds, &spread, &limit, request, answer) == 5) {
        memset(&run, 0, sizeof run);
        run.request = slurp(request);
        run.exact = strcmp(answer, "-");
        if (run.exact) run.expected = slurp(answer);
        run.count = memmem(run.request.data, run.request.len, "@COUNT@000000000", 7 + COUNT_DIGITS);
        if (run.count) run.count += 7;
        run.stream = memmem(run.request.data, run.request.len, "\"stream\":true", 13);
        perform(seconds, spread * 1000, (int64_t)(limit * SECOND));
        free(run.request.data);
        free(run.expected.data);
        free(run.first.data);
        free(run.last.data);
    }
}

int main(int argc, char **argv) {
    prepare();
    if (argc == 5 && !strcmp(argv[1], "upstream")) {
        gap = atol(argv[3]) * 1000;
        read_blocks(argv[4]);
        serve(atoi(argv[2]));
    } else if (argc == 4 && !strcmp(argv[1], "load")) {
        obey(atoi(argv[2]), (size_t)atol(argv[3]));
    } else {
        fprintf(stderr, "usage: load upstream PORT GAP_US BLOCKS | load load PORT CONNECTIONS\n");
        return 2;
    }
}
