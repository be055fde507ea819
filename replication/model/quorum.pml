/*
 * How a volume's head and its replicas agree: quorum writes, epochs, fencing, windows, recovery by
 * a new head, loss and return of a replica, with a dirty bitmap. README.md says what each word
 * means, what is assumed, and which deliberate mistakes (-D) must be found.
 *
 * One process takes every possible step in every possible order. A message is a step that may be
 * taken at any later time, or never: delay, loss and a dead machine are the same thing here.
 */

#define N 3 /* replicas */
#define W 2 /* write quorum */

#define OPS_MAX 3
#ifndef OPS
#define OPS 3 /* writes of the host, OPS_MAX at most */
#endif
#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef EPOCHS
#define EPOCHS 3 /* the last epoch that is granted */
#endif
#ifndef WIPES
#define WIPES 0 /* replicas that die for good: W - 1 at most */
#endif

#define ALL ((1 << N) - 1)
#define ALL_BLOCKS ((1 << BLOCKS) - 1)
#define HAS(set, i) (((set) >> (i)) & 1)
#define COUNT(set) (HAS(set, 0) + HAS(set, 1) + HAS(set, 2))
#define SUBSET(a, b) (((a) & ~(b)) == 0)
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* ---- the map, which the authority changes in transactions ---- */
byte map_epoch = 1;
byte map_head = 0;
byte map_set = ALL; /* the in-sync set */

/* ---- replicas; all of it is durable ---- */
byte fence[N] = 1;   /* writes of lower epochs are refused for ever */
byte agreed[N] = 1;  /* the last tenure in whose beginning this replica took part, or joined */
byte at[N] = 1;      /* the epoch in which it takes writes, of that tenure */
byte joining[N];     /* the epoch in which it is being brought up to date; 0: none */
byte window[N];      /* ops above the watermark: their numbers are known */
byte dirty[N];       /* blocks that an absent replica may lack */
byte data[N * BLOCKS]; /* the op that wrote the block; 0: nothing yet */
byte applied[N];     /* every op that ever arrived here */
bool blank[N];       /* a new drive in place of one that died */
byte wipes = 0;

/* ---- writes; op numbers are 1 to OPS, ordered by (op_epoch, number) ---- */
byte op_next = 1;
byte op_epoch[OPS_MAX + 1]; /* of the head that took it */
byte op_msg[OPS_MAX + 1];   /* the epoch that its messages bear */
byte op_block[OPS_MAX + 1];
byte op_floor[OPS_MAX + 1]; /* what had been seen when the host issued it */
byte op_sent[OPS_MAX + 1];  /* to these replicas */
byte op_miss;           /* ops whose messages say that a replica is absent */
byte acked;             /* told to the host */
byte voided;            /* a later head began without these: they must never be seen again */
byte opened = 1;        /* the highest epoch in which a head opened */

#define VER(i) ((i) == 0 -> 0 : op_epoch[i] * 16 + (i))

/* ---- heads: two machines that may both believe that they are it ---- */
mtype = { idle, recovering, agreeing, open };
mtype h_state[2] = idle;
byte h_epoch[2];
byte h_tenure[2]; /* the epoch in which it began */
byte h_set[2];    /* the in-sync set as it knows it */
byte h_live[2];   /* those that began this tenure together, or joined: their answers count */
byte h_got[2];    /* fenced, in recovery */
byte h_settled[2];
byte h_known[2];  /* ops that it knows to be above the watermark */
byte h_mine[2];   /* those of them that it answers to the host */
byte h_acks[2 * (OPS_MAX + 1)];
byte h_winner[2 * BLOCKS]; /* what recovery decided on */
byte h_winner_ops[2];
byte h_dirty[2];
byte h_join[2];   /* the replica that is brought up to date, as a set */
byte h_todo[2];   /* blocks that it still lacks */
byte h_pending[2]; /* the set that it has asked the authority for; 0: none */
byte h_answer[2];  /* 0: under way, 1: granted, 2: refused */
byte lease = 0;   /* the head that may answer reads; it passes on only when it has run out */

#define D(r, b) data[(r) * BLOCKS + (b)]
#define ACKS(h, i) h_acks[(h) * (OPS_MAX + 1) + (i)]
#define WINNER(h, b) h_winner[(h) * BLOCKS + (b)]

byte seen[BLOCKS]; /* the newest version that somebody was told of */

byte i, j, top, best; /* scratch; always 0 between steps */

#ifdef BUG_NO_FENCE
#define TAKES(r, e) (!blank[r])
#else
#define TAKES(r, e) (fence[r] == (e) && (at[r] == (e) || joining[r] == (e)))
#endif
/* What `agreed` is raised to by a new set, and by a return: the tenure stays. */
#ifdef BUG_EPOCH_FOR_TENURE
#define PARTY(h) h_epoch[h]
#else
#define PARTY(h) h_tenure[h]
#endif
#ifdef BUG_QUORUM_OF_ONE
#define QUORUM 1
#else
#define QUORUM W
#endif

inline scratch_clear() { i = 0; j = 0; top = 0; best = 0 }

/* The blocks that the ops in a set write: result in `best`. */
inline blocks_of(ops) {
  best = 0;
  j = 1;
  do
  :: j <= OPS_MAX -> best = best | (HAS(ops, j) -> (1 << op_block[j]) : 0); j++
  :: else -> break
  od
}

/* ---- the host's write ---- */
inline issue(h, b) {
  i = op_next;
  op_next++;
  op_epoch[i] = h_epoch[h];
  op_msg[i] = h_epoch[h];
  op_block[i] = b;
  op_floor[i] = seen[b];
  op_sent[i] = h_live[h] | h_join[h];
  op_miss = op_miss | (h_live[h] != ALL -> (1 << i) : 0);
  h_known[h] = h_known[h] | (1 << i);
  h_mine[h] = h_mine[h] | (1 << i);
  voided = voided | (h_epoch[h] < opened -> (1 << i) : 0);
  scratch_clear()
}

/* A write arrives. Where writes overlap, the higher number stays. */
inline deliver(o, r) {
  if
  :: HAS(window[r], D(r, op_block[o])) && VER(D(r, op_block[o])) > VER(o) -> skip
  :: else -> D(r, op_block[o]) = o
  fi;
  window[r] = window[r] | (1 << o);
  applied[r] = applied[r] | (1 << o);
#ifndef BUG_LOSE_DIRTY
  dirty[r] = dirty[r] | (HAS(op_miss, o) -> (1 << op_block[o]) : 0);
#endif
  scratch_clear()
}

#define IS_QUORUM(h, o)                                          \
  (COUNT(ACKS(h, o) & h_live[h] & h_set[h]) >= QUORUM &&          \
   (h_pending[h] == 0 || !SUBSET(h_pending[h], h_set[h]) ||      \
    COUNT(ACKS(h, o) & h_live[h] & h_pending[h]) >= QUORUM))

/* The head hears that a replica has a write, and tells the host as soon as it may. */
inline learn(h, o, r) {
  ACKS(h, o) = ACKS(h, o) | (1 << r);
  acknowledge(h, o)
}

inline acknowledge(h, o) {
  if
  :: HAS(h_mine[h], o) && !HAS(acked, o) && IS_QUORUM(h, o) ->
     assert(VER(o) > op_floor[o]);
     assert(!HAS(voided, o));
     acked = acked | (1 << o);
     seen[op_block[o]] = MAX(seen[op_block[o]], VER(o))
  :: else -> skip
  fi
}

/* All ops up to `o` are with every replica that counts: the watermark may pass it. */
#ifdef BUG_WATERMARK
#define PASSED(h, o, k) (COUNT(ACKS(h, k)) >= W)
#else
#define PASSED(h, o, k) SUBSET(h_set[h] | h_join[h], ACKS(h, k))
#endif
#define CLEARED(h, o, k) (!HAS(h_known[h], k) || VER(k) > VER(o) || PASSED(h, o, k))
#define ALL_CLEARED(h, o) (CLEARED(h, o, 1) && CLEARED(h, o, 2) && CLEARED(h, o, 3))

/* ---- a new head ---- */
inline grant(h) {
  map_epoch++;
  map_head = h;
  h_state[h] = recovering;
  h_epoch[h] = map_epoch;
  h_tenure[h] = map_epoch;
  h_set[h] = map_set;
  h_live[h] = 0; h_got[h] = 0; h_settled[h] = 0; h_known[h] = 0; h_mine[h] = 0;
  h_join[h] = 0; h_todo[h] = 0; h_pending[h] = 0; h_answer[h] = 0; h_dirty[h] = 0;
  i = 0;
  do
  :: i <= OPS_MAX -> ACKS(h, i) = 0; i++
  :: else -> break
  od;
  scratch_clear()
}

inline fence_replica(h, r) {
  fence[r] = h_epoch[h];
  joining[r] = 0;
  h_got[h] = h_got[h] | (1 << r)
}

/* What a replica has can be learned only while it is there. */
#define NOT_BLANK (ALL & ~(blank[0] | (blank[1] << 1) | (blank[2] << 2)))
#define HEARD(h) COUNT(h_got[h] & NOT_BLANK)
#define MAY_DECIDE(h) (HEARD(h) >= W && HEARD(h) >= COUNT(h_set[h]) - W + 1)

/* Only those count that took part in the last beginning, or joined after it: what the others have in
 * their windows is void. (Not those of the highest epoch: a replica that has just joined may hear of
 * a new set before older members do, which alone have what was acknowledged.) Among them, the
 * highest number of each block wins. */
inline decide(h) {
  top = 0;
  i = 0;
  do
  :: i < N -> top = (HAS(h_got[h], i) && agreed[i] > top -> agreed[i] : top); i++
  :: else -> break
  od;
#ifdef BUG_WINDOW_OF_ANY
#define COUNTS(h, r) HAS(h_got[h], r)
#else
#define COUNTS(h, r) (HAS(h_got[h], r) && agreed[r] == top)
#endif
  h_winner_ops[h] = 0;
  j = 0;
  do
  :: j < BLOCKS ->
     best = 255;
     i = 0;
     do
     :: i < N ->
        if
        :: COUNTS(h, i) && best == 255 -> best = i
        :: COUNTS(h, i) && best != 255 && HAS(window[i], D(i, j)) && D(i, j) != 0 &&
           (!HAS(window[best], D(best, j)) || VER(D(i, j)) > VER(D(best, j))) -> best = i
        :: else -> skip
        fi;
        i++
     :: else -> break
     od;
     WINNER(h, j) = D(best, j);
     h_winner_ops[h] = h_winner_ops[h] |
                       (HAS(window[best], D(best, j)) -> (1 << D(best, j)) : 0);
     j++
  :: else -> break
  od;
  h_winner_ops[h] = h_winner_ops[h] & ~1;
  top = 0;
  i = 0;
  do
  :: i < N ->
     if
     :: HAS(h_got[h], i) -> top = top | window[i]; h_dirty[h] = h_dirty[h] | dirty[i]
     :: else -> skip
     fi;
     i++
  :: else -> break
  od;
  blocks_of(top);
  h_dirty[h] = h_dirty[h] | best;
  h_state[h] = agreeing;
  scratch_clear()
}

inline settle(h, r) {
  i = 0;
  do
  :: i < BLOCKS -> D(r, i) = WINNER(h, i); i++
  :: else -> break
  od;
  window[r] = h_winner_ops[h];
  applied[r] = applied[r] | h_winner_ops[h];
  agreed[r] = h_tenure[h];
  at[r] = h_epoch[h];
#ifndef BUG_LOSE_DIRTY
  dirty[r] = h_dirty[h];
#endif
  h_settled[h] = h_settled[h] | (1 << r);
  scratch_clear()
}

inline open_head(h) {
  h_state[h] = open;
  lease = h;
  h_live[h] = h_settled[h];
  h_known[h] = h_winner_ops[h];
  i = 1;
  do
  :: i <= OPS_MAX ->
     ACKS(h, i) = (HAS(h_known[h], i) -> h_settled[h] : 0);
     voided = voided | (i < op_next && op_epoch[i] < h_epoch[h] &&
                        VER(i) > VER(WINNER(h, op_block[i])) -> (1 << i) : 0);
     i++
  :: else -> break
  od;
  opened = MAX(opened, h_epoch[h]);
  h_got[h] = 0; h_settled[h] = 0; h_winner_ops[h] = 0; h_dirty[h] = 0;
  i = 0;
  do
  :: i < BLOCKS -> WINNER(h, i) = 0; i++
  :: else -> break
  od;
  scratch_clear()
}

/* ---- the in-sync set changes: the head asks, the authority decides, the head hears of it ---- */
#ifdef BUG_DROP_EARLY
#define HELD(h, k, set) true
#else
#define HELD(h, k, set)                                                               \
  (!HAS(h_known[h], k) || (HAS(h_mine[h], k) && !HAS(acked, k)) ||                    \
   COUNT(ACKS(h, k) & h_live[h] & (set)) >= W)
#endif
#define ALL_HELD(h, set) (HELD(h, 1, set) && HELD(h, 2, set) && HELD(h, 3, set))

/* The replica has what was told of the block, or something later. */
#define KEEPS(r, b) (HAS(map_set, r) && !blank[r] && VER(D(r, b)) >= seen[b])
/* It survives the death of W - 1 replicas of the set. Some may have died already. */
#define SURVIVES(b) (KEEPS(0, b) + KEEPS(1, b) + KEEPS(2, b) + wipes >= W)

inline authority(h) {
  if
  :: map_epoch == h_epoch[h] && map_head == h && map_epoch < EPOCHS ->
     map_epoch++;
     map_set = h_pending[h];
     assert(SURVIVES(0) && SURVIVES(BLOCKS - 1));
     h_answer[h] = 1
  :: else -> h_answer[h] = 2
  fi
}

inline adopt(h) {
  if
  :: h_answer[h] == 1 ->
     h_epoch[h] = h_epoch[h] + 1;
     h_set[h] = h_pending[h];
     h_live[h] = (h_live[h] | h_join[h]) & h_set[h];
     h_join[h] = 0;
     i = 1;
     do
     :: i <= OPS_MAX ->
        ACKS(h, i) = ACKS(h, i) & h_live[h];
        if
        :: HAS(h_known[h], i) && !SUBSET(h_live[h], ACKS(h, i)) ->
           op_msg[i] = h_epoch[h];
           op_sent[i] = h_live[h];
           op_miss = (h_live[h] != ALL -> op_miss | (1 << i) : op_miss & ~(1 << i))
        :: else -> skip
        fi;
        i++
     :: else -> break
     od
  :: else -> h_state[h] = idle; h_join[h] = 0; h_todo[h] = 0
  fi;
  h_pending[h] = 0;
  h_answer[h] = 0;
  scratch_clear()
}

/* The new epoch reaches a replica that was there before. */
inline carry_on(h, r) {
  fence[r] = h_epoch[h];
  agreed[r] = PARTY(h);
  at[r] = h_epoch[h];
  joining[r] = 0;
  blocks_of(window[r]);
#ifndef BUG_LOSE_DIRTY
  dirty[r] = (h_live[h] == ALL -> 0 : dirty[r] | best);
#endif
  scratch_clear()
}

#define AT(h, r) (!HAS(h_live[h], r) || at[r] == h_epoch[h])
#define ALL_AT(h) (AT(h, 0) && AT(h, 1) && AT(h, 2))

/* ---- a replica returns ---- */
inline join(h, r) {
  fence[r] = h_epoch[h];
  joining[r] = h_epoch[h];
  h_join[h] = 1 << r;
  blocks_of(h_known[h] | window[r]);
#ifdef BUG_LOSE_DIRTY
  best = 0;
#endif
  h_todo[h] = (blank[r] -> ALL_BLOCKS
                        : best | (HAS(h_live[h], 0) -> dirty[0] : 0) |
                              (HAS(h_live[h], 1) -> dirty[1] : 0) |
                              (HAS(h_live[h], 2) -> dirty[2] : 0));
  scratch_clear()
}

/* No write to the block is under way, so that a copy never covers a newer one. */
#define QUIET(h, b, k)                                                                \
  (!HAS(h_known[h], k) || op_block[k] != (b) ||                                       \
   SUBSET(h_live[h] | (op_sent[k] & h_join[h]), ACKS(h, k)))
#ifdef BUG_RESYNC_RACE
#define ALL_QUIET(h, b) true
#else
#define ALL_QUIET(h, b) (QUIET(h, b, 1) && QUIET(h, b, 2) && QUIET(h, b, 3))
#endif

inline copy(h, s, r, b) {
  i = 1;
  top = 0;
  do
  :: i <= OPS_MAX ->
     top = top | (op_block[i] == (b) && i < op_next -> (1 << i) : 0);
     ACKS(h, i) = (HAS(h_known[h], i) && op_block[i] == (b) -> ACKS(h, i) | (1 << r) : ACKS(h, i));
     i++
  :: else -> break
  od;
  D(r, b) = D(s, b);
  window[r] = (window[r] & ~top) | (window[s] & top);
  applied[r] = applied[r] | (window[s] & top);
  h_todo[h] = h_todo[h] & ~(1 << (b));
  scratch_clear()
}

inline wipe(r) {
  wipes++;
  blank[r] = true;
  fence[r] = 0; agreed[r] = 0; at[r] = 0; joining[r] = 0; window[r] = 0; dirty[r] = 0; applied[r] = 0;
  i = 0;
  do
  :: i < BLOCKS -> D(r, i) = 0; i++
  :: else -> break
  od;
  scratch_clear()
}

/* ---- reads ---- */
/* `r` has everything of the block that the host was told of. */
#define CURRENT(h, r, b, k)                                                           \
  (!HAS(h_known[h], k) || op_block[k] != (b) || (HAS(h_mine[h], k) && !HAS(acked, k)) || \
   HAS(ACKS(h, k), r))
#define ALL_CURRENT(h, r, b)                                                          \
  (CURRENT(h, r, b, 1) && CURRENT(h, r, b, 2) && CURRENT(h, r, b, 3))

#ifdef BUG_NO_LEASE
#define MAY_ANSWER(h) true
#else
#define MAY_ANSWER(h) (lease == (h))
#endif

/* What is read is told only if it can't be lost any more. */
#ifdef BUG_READ_UNACKED
#define SAFE(h, v) true
#else
#define SAFE(h, v) ((v) == 0 || HAS(acked, v) || !HAS(h_mine[h], v))
#endif

#ifdef TRACE
#define SAY(what, a, b, c) printf(what, a, b, c)
#else
#define SAY(what, a, b, c) skip
#endif

/* ---- every step, for every head, op, replica and block ---- */
#define ISSUE(h, b)                                                                    \
  :: d_step {                                                                          \
       h_state[h] == open && op_next <= OPS ->                                         \
       SAY("issue %d %d %d\n", h, b, 0);                                               \
       issue(h, b)                                                                     \
     }
#define DELIVER(o, r)                                                                  \
  :: d_step {                                                                          \
       HAS(op_sent[o], r) && !HAS(applied[r], o) && TAKES(r, op_msg[o]) ->             \
       SAY("deliver %d %d %d\n", o, r, 0);                                             \
       deliver(o, r)                                                                   \
     }
#define LEARN(h, o, r)                                                                 \
  :: d_step {                                                                          \
       h_state[h] == open && HAS(h_known[h], o) && HAS(op_sent[o], r) &&               \
         HAS(applied[r], o) && HAS(h_live[h] | h_join[h], r) && !HAS(ACKS(h, o), r) -> \
       SAY("learn %d %d %d\n", h, o, r);                                               \
       learn(h, o, r)                                                                  \
     }
#define FORGET(h, o, r)                                                                \
  :: d_step {                                                                          \
       h_state[h] == open && HAS(h_known[h], o) && HAS(window[r], o) &&                \
         TAKES(r, h_epoch[h]) && ALL_CLEARED(h, o) ->                                  \
       SAY("forget %d %d %d\n", h, o, r);                                              \
       window[r] = window[r] & ~(1 << o)                                               \
     }
#define FORGET_TOO(h, o)                                                               \
  :: d_step {                                                                          \
       h_state[h] == open && HAS(h_known[h], o) && ALL_CLEARED(h, o) &&                \
         FORGOTTEN(h, o, 0) && FORGOTTEN(h, o, 1) && FORGOTTEN(h, o, 2) ->             \
       SAY("forget_too %d %d %d\n", h, o, 0);                                          \
       h_known[h] = h_known[h] & ~(1 << o);                                            \
       h_mine[h] = h_mine[h] & ~(1 << o);                                              \
       ACKS(h, o) = 0                                                                  \
     }
#define FORGOTTEN(h, o, r) (!HAS(h_live[h] | h_join[h], r) || !HAS(window[r], o))
#define GRANT(h)                                                                       \
  :: d_step {                                                                          \
       map_epoch < EPOCHS && map_head != h ->                                          \
       SAY("grant %d %d %d\n", h, 0, 0);                                               \
       grant(h)                                                                        \
     }
#define FENCE(h, r)                                                                    \
  :: d_step {                                                                          \
       h_state[h] == recovering && HAS(h_set[h], r) && !blank[r] && fence[r] < h_epoch[h] ->\
       SAY("fence %d %d %d\n", h, r, 0);                                               \
       fence_replica(h, r)                                                             \
     }
#define DECIDE(h)                                                                      \
  :: d_step {                                                                          \
       h_state[h] == recovering && MAY_DECIDE(h) ->                                    \
       SAY("decide %d %d %d\n", h, 0, 0);                                              \
       decide(h)                                                                       \
     }
#define SETTLE(h, r)                                                                   \
  :: d_step {                                                                          \
       h_state[h] == agreeing && HAS(h_got[h], r) && fence[r] == h_epoch[h] &&         \
         agreed[r] < h_epoch[h] ->                                                     \
       SAY("settle %d %d %d\n", h, r, 0);                                              \
       settle(h, r)                                                                    \
     }
#define OPEN(h)                                                                        \
  :: d_step {                                                                          \
       h_state[h] == agreeing && COUNT(h_settled[h]) >= QUORUM  &&       \
         map_head == h && map_epoch == h_epoch[h] ->                                   \
       SAY("open %d %d %d\n", h, 0, 0);                                                \
       open_head(h)                                                                    \
     }
#define DROP(h, r)                                                                     \
  :: d_step {                                                                          \
       h_state[h] == open && h_pending[h] == 0 && h_join[h] == 0 && HAS(h_set[h], r) &&  \
         COUNT(h_set[h]) > W && ALL_HELD(h, h_set[h] & ~(1 << r)) && ALL_AT(h) ->      \
       SAY("drop %d %d %d\n", h, r, 0);                                                \
       h_pending[h] = h_set[h] & ~(1 << r)                                             \
     }
#define AUTHORITY(h)                                                                   \
  :: d_step {                                                                          \
       h_pending[h] != 0 && h_answer[h] == 0 ->                                        \
       SAY("authority %d %d %d\n", h, 0, 0);                                           \
       authority(h)                                                                    \
     }
#define ADOPT(h)                                                                       \
  :: d_step {                                                                          \
       h_answer[h] != 0 ->                                                             \
       SAY("adopt %d %d %d\n", h, 0, 0);                                               \
       adopt(h)                                                                        \
     }
#define CARRY_ON(h, r)                                                                 \
  :: d_step {                                                                          \
       h_state[h] == open && HAS(h_live[h], r) && agreed[r] >= h_tenure[h] &&          \
         at[r] < h_epoch[h] && fence[r] == at[r] ->                                    \
       SAY("carry_on %d %d %d\n", h, r, 0);                                            \
       carry_on(h, r)                                                                  \
     }
#define JOIN(h, r)                                                                     \
  :: d_step {                                                                          \
       h_state[h] == open && h_pending[h] == 0 && h_join[h] == 0 && !HAS(h_set[h], r) &&  \
         ALL_AT(h) && fence[r] <= h_epoch[h] ->                                        \
       SAY("join %d %d %d\n", h, r, 0);                                                \
       join(h, r)                                                                      \
     }
#define COPY(h, s, r, b)                                                               \
  :: d_step {                                                                          \
       h_join[h] == (1 << r) && HAS(h_todo[h], b) && HAS(h_live[h], s) &&              \
         fence[s] == h_epoch[h] && at[s] == h_epoch[h] && fence[r] == h_epoch[h] &&     \
         joining[r] == h_epoch[h] && ALL_QUIET(h, b) ->                                \
       SAY("copy %d %d %d\n", h, r, b);                                                \
       copy(h, s, r, b)                                                                \
     }
#define JOINED(h, r)                                                                   \
  :: d_step {                                                                          \
       h_join[h] == (1 << r) && h_todo[h] == 0 && h_pending[h] == 0 &&                 \
         fence[r] == h_epoch[h] && joining[r] == h_epoch[h] ->                         \
       SAY("joined %d %d %d\n", h, r, 0);                                              \
       agreed[r] = PARTY(h);                                                           \
       at[r] = h_epoch[h];                                                             \
       blank[r] = false;                                                               \
       h_pending[h] = h_set[h] | h_join[h]                                             \
     }
#define WIPE(r)                                                                        \
  :: d_step {                                                                          \
       wipes < WIPES ->                                                                \
       SAY("wipe %d %d %d\n", r, 0, 0);                                                \
       wipe(r)                                                                         \
     }
#define READ(h, b, r)                                                                  \
  :: d_step {                                                                          \
       h_state[h] == open && HAS(h_live[h] & h_set[h], r) && fence[r] == h_epoch[h] &&  \
         at[r] == h_epoch[h] && ALL_CURRENT(h, r, b) && MAY_ANSWER(h) &&               \
         SAFE(h, D(r, b)) ->                                                           \
       SAY("read %d %d %d\n", h, b, r);                                                \
       assert(VER(D(r, b)) >= seen[b]);                                                \
       assert(!HAS(voided, D(r, b)));                                                  \
       seen[b] = MAX(seen[b], VER(D(r, b)))                                            \
     }

/* Nothing is under way: the replicas are the same. */
#define SAME(h, r, s)                                                                  \
  (!HAS(h_set[h], r) || !HAS(h_set[h], s) ||                                           \
   (D(r, 0) == D(s, 0) && D(r, BLOCKS - 1) == D(s, BLOCKS - 1)))
#define DONE(h, k) (!HAS(h_known[h], k) || SUBSET(h_set[h], ACKS(h, k)))
#define CONVERGED(h)                                                                   \
  :: d_step {                                                                          \
       h_state[h] == open && map_head == h && map_epoch == h_epoch[h] &&               \
         h_set[h] == h_live[h] && ALL_AT(h) && DONE(h, 1) && DONE(h, 2) && DONE(h, 3) -> \
       SAY("converged %d %d %d\n", h, 0, 0);                                           \
       assert(SAME(h, 0, 1) && SAME(h, 1, 2) && SAME(h, 0, 2));                        \
       WITNESSED(h)                                                                    \
     }
/* With -DWITNESS_x the search must reach what it is about: proof that the model does something. */
#ifdef WITNESS_FAILOVER
#define WITNESSED(h)                                                                   \
  assert(!(h_tenure[h] == 2 && h_set[h] == ALL && COUNT(acked >> 1) == OPS && op_epoch[OPS] == 2))
#elif defined(WITNESS_RETURN)
#define WITNESSED(h)                                                                   \
  assert(!(h_tenure[h] == 1 && h_epoch[h] == 3 && h_set[h] == ALL &&                   \
           COUNT(acked >> 1) == OPS && op_epoch[OPS] == 2))
#else
#define WITNESSED(h) skip
#endif

#if BLOCKS == 1
#define EACH_BLOCK1(M, a) M(a, 0)
#define EACH_BLOCK3(M, a, b, c) M(a, b, c, 0)
#else
#define EACH_BLOCK1(M, a) M(a, 0) M(a, 1)
#define EACH_BLOCK3(M, a, b, c) M(a, b, c, 0) M(a, b, c, 1)
#endif
/* Block 0 is enough: what can happen to block 1 can happen to it. */
#define EACH_READ(h) READ(h, 0, 0) READ(h, 0, 1) READ(h, 0, 2)
#define EACH_REPLICA(M, a) M(a, 0) M(a, 1) M(a, 2)
#define EACH_OP(M, a) M(a, 1) M(a, 2) M(a, 3)
#define EACH_OP_AND_REPLICA(M, a) EACH_OP2(M, a, 0) EACH_OP2(M, a, 1) EACH_OP2(M, a, 2)
#define EACH_OP2(M, a, r) M(a, 1, r) M(a, 2, r) M(a, 3, r)
#define EACH_PAIR(h)                                                                   \
  EACH_BLOCK3(COPY, h, 0, 1) EACH_BLOCK3(COPY, h, 0, 2) EACH_BLOCK3(COPY, h, 1, 0)     \
  EACH_BLOCK3(COPY, h, 1, 2) EACH_BLOCK3(COPY, h, 2, 0) EACH_BLOCK3(COPY, h, 2, 1)
#define HEAD(h)                                                                        \
  EACH_BLOCK1(ISSUE, h) EACH_OP_AND_REPLICA(LEARN, h) EACH_OP_AND_REPLICA(FORGET, h)   \
  EACH_OP(FORGET_TOO, h) GRANT(h) EACH_REPLICA(FENCE, h) DECIDE(h)                     \
  EACH_REPLICA(SETTLE, h) OPEN(h) EACH_REPLICA(DROP, h) AUTHORITY(h) ADOPT(h)          \
  EACH_REPLICA(CARRY_ON, h) EACH_REPLICA(JOIN, h) EACH_PAIR(h) EACH_REPLICA(JOINED, h) \
  EACH_READ(h) CONVERGED(h)

active proctype world() {
  d_step {
    h_state[0] = open;
    h_epoch[0] = 1;
    h_tenure[0] = 1;
    h_set[0] = ALL;
    h_live[0] = ALL
  };
  do
  HEAD(0)
  HEAD(1)
  EACH_REPLICA(DELIVER, 1)
  EACH_REPLICA(DELIVER, 2)
  EACH_REPLICA(DELIVER, 3)
  WIPE(0) WIPE(1) WIPE(2)
  od
}
