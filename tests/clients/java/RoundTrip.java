import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The Apache Kafka producer and consumer against a running broker.
 *
 * <p>Arguments: HOST:PORT. Runs every case and prints one line for each: {@code passed NAME} or
 * {@code failed NAME: reason}. One process for all of them, because a JVM starts slowly.
 */
public final class RoundTrip {
    private static final int RECORDS = 1000;
    private static final long SECONDS = 30;
    private static final long FIRST_TIMESTAMP = 1_700_000_000_000L;

    private final String bootstrap;

    private RoundTrip(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    private interface Case {
        void run(String topic) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        RoundTrip suite = new RoundTrip(arguments[0]);
        Map<String, Case> cases = new HashMap<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            for (String acks : List.of("0", "1", "all")) {
                cases.put("round-trip-" + codec + "-acks-" + acks,
                        topic -> suite.roundTrip(topic, codec, acks, false));
            }
            cases.put("idempotent-" + codec, topic -> suite.roundTrip(topic, codec, "all", true));
        }
        cases.put("partitions-keep-their-order", suite::partitionsKeepTheirOrder);
        cases.put("topic-appears-when-first-written-to", suite::topicAppears);
        cases.put("seek-ends-and-times", suite::seekEndsAndTimes);
        cases.put("null-key-and-null-value", suite::nullKeyAndNullValue);
        for (Map.Entry<String, Case> each : cases.entrySet()) {
            try {
                each.getValue().run("java-" + each.getKey());
                System.out.println("passed " + each.getKey());
            } catch (Exception | AssertionError failure) {
                System.out.println("failed " + each.getKey() + ": " + failure);
            }
        }
    }

    private KafkaProducer<byte[], byte[]> producer(String codec, String acks, boolean idempotent) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("compression.type", codec);
        settings.put("acks", acks);
        settings.put("enable.idempotence", String.valueOf(idempotent));
        settings.put("linger.ms", "5");
        settings.put("delivery.timeout.ms", "40000");
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(),
                new ByteArrayDeserializer());
    }

    private void create(String topic, int partitions) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1)))
                    .all().get(SECONDS, TimeUnit.SECONDS);
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    private static void same(Object expected, Object got, String what) {
        if (!expected.equals(got)) {
            throw new AssertionError(what + " should be " + expected + ", is " + got);
        }
    }

    private List<ConsumerRecord<byte[], byte[]>> read(String topic, int partitions, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            List<TopicPartition> assignment = new ArrayList<>();
            for (int partition = 0; partition < partitions; partition++) {
                assignment.add(new TopicPartition(topic, partition));
            }
            consumer.assign(assignment);
            consumer.seekToBeginning(assignment);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
            while (records.size() < count) {
                if (System.nanoTime() > deadline) {
                    throw new AssertionError("only " + records.size() + " of " + count + " came");
                }
                consumer.poll(Duration.ofMillis(500)).forEach(records::add);
            }
        }
        same(count, records.size(), "the number of records");
        return records;
    }

    /** Keys, values, headers and timestamps come back as they were sent, in order. */
    private void roundTrip(String topic, String codec, String acks, boolean idempotent)
            throws Exception {
        create(topic, 1);
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(codec, acks, idempotent)) {
            for (int number = 0; number < RECORDS; number++) {
                answers.add(producer.send(new ProducerRecord<>(topic, 0, FIRST_TIMESTAMP + number,
                        bytes("key-" + number), bytes("value-" + number + "x".repeat(number % 300)),
                        List.of(new RecordHeader("number", bytes("" + number)),
                                new RecordHeader("none", (byte[]) null)))));
            }
            producer.flush();
        }
        for (int number = 0; number < RECORDS; number++) {
            RecordMetadata answer = answers.get(number).get(SECONDS, TimeUnit.SECONDS);
            if (!acks.equals("0")) {
                same((long) number, answer.offset(), "the acknowledged offset");
            }
        }
        int number = 0;
        for (ConsumerRecord<byte[], byte[]> record : read(topic, 1, RECORDS)) {
            same((long) number, record.offset(), "the offset");
            same("key-" + number, text(record.key()), "the key");
            same("value-" + number + "x".repeat(number % 300), text(record.value()), "the value");
            same(FIRST_TIMESTAMP + number, record.timestamp(), "the timestamp");
            same(2, record.headers().toArray().length, "the number of headers");
            same("" + number, text(record.headers().lastHeader("number").value()), "a header");
            if (record.headers().lastHeader("none").value() != null) {
                throw new AssertionError("a null header came back as something");
            }
            number++;
        }
    }

    private void partitionsKeepTheirOrder(String topic) throws Exception {
        int partitions = 6;
        create(topic, partitions);
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer("lz4", "all", true)) {
            for (int number = 0; number < partitions * RECORDS; number++) {
                answers.add(producer.send(new ProducerRecord<>(topic, number % partitions, null,
                        bytes("" + number))));
            }
        }
        for (int number = 0; number < answers.size(); number++) {
            same((long) number / partitions,
                    answers.get(number).get(SECONDS, TimeUnit.SECONDS).offset(),
                    "the acknowledged offset");
        }
        int[] next = {0, 1, 2, 3, 4, 5};
        for (ConsumerRecord<byte[], byte[]> record : read(topic, partitions, 6 * RECORDS)) {
            same("" + next[record.partition()], text(record.value()), "the next value");
            next[record.partition()] += partitions;
        }
    }

    private void topicAppears(String topic) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer("none", "all", true)) {
            same(0L, producer.send(new ProducerRecord<>(topic, bytes("first")))
                    .get(SECONDS, TimeUnit.SECONDS).offset(), "the offset");
        }
        same("first", text(read(topic, 1, 1).get(0).value()), "the value");
    }

    private void seekEndsAndTimes(String topic) throws Exception {
        create(topic, 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer("zstd", "all", true)) {
            for (int number = 0; number < 100; number++) {
                producer.send(new ProducerRecord<>(topic, 0, FIRST_TIMESTAMP + 1000L * number, null,
                        bytes("" + number)));
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            same(Map.of(partition, 0L), consumer.beginningOffsets(List.of(partition)), "the start");
            same(Map.of(partition, 100L), consumer.endOffsets(List.of(partition)), "the end");
            same(43L, consumer.offsetsForTimes(Map.of(partition, FIRST_TIMESTAMP + 42_500))
                    .get(partition).offset(), "the offset for a time");
            consumer.assign(List.of(partition));
            consumer.seek(partition, 87);
            same("87", text(consumer.poll(Duration.ofSeconds(SECONDS)).iterator().next().value()),
                    "the value at offset 87");
        }
    }

    private void nullKeyAndNullValue(String topic) throws Exception {
        create(topic, 1);
        try (KafkaProducer<byte[], byte[]> producer = producer("gzip", "all", true)) {
            producer.send(new ProducerRecord<>(topic, null, bytes("no key")));
            producer.send(new ProducerRecord<>(topic, bytes("tombstone"), null));
        }
        List<ConsumerRecord<byte[], byte[]>> records = read(topic, 1, 2);
        if (records.get(0).key() != null || records.get(1).value() != null) {
            throw new AssertionError("a null came back as something");
        }
        same("tombstone", text(records.get(1).key()), "the key");
    }
}
