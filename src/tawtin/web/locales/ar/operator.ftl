### لمن يشغّل المصنع.

operator-what = ما لدى { $factory }، ومن يشغله، ومن ينتظر، ومن نظراؤه.
act = الإجراء
alarm = نظير يحتاج إلى نظرة.
store-restored = استُعيد المخزن من نسخة احتياطية.
store-silent = لا يُرسل شيء إلى النظراء حتى يقولوا جميعاً ما يعرفون. لم يُسمع بعد من:
store-was-restored = استُعيد المخزن من نسخة احتياطية في { $when }.
not-isolated = التشغيلات غير معزولة هنا: لا يجوز التشغيل إلا لجهة المصنع نفسه.

nodes = العقد
node = العقدة
nodes-none = لا عقدة بعد
nodes-none-what = يعلن المحرّك آلاته من تلقاء نفسه بعد إعداده في { "\u2066" }factory.toml{ "\u2069" }.
nodes-more = { $count ->
    [zero] لا عقد غير معروضة.
    [one] عقدة أخرى غير معروضة؛ ما يحتاج إلى نظرة يأتي أولاً.
    [two] عقدتان أخريان غير معروضتين؛ ما يحتاج إلى نظرة يأتي أولاً.
    [few] { $count } عقد أخرى غير معروضة؛ ما يحتاج إلى نظرة يأتي أولاً.
    [many] { $count } عقدة أخرى غير معروضة؛ ما يحتاج إلى نظرة يأتي أولاً.
   *[other] { $count } عقدة أخرى غير معروضة؛ ما يحتاج إلى نظرة يأتي أولاً.
}
health = السلامة
health-ready = جاهزة
health-draining = قيد الإخلاء
health-sick = معطّلة
health-gone = غائبة
declared = وحدات GPU مُعلنة وليست حقيقية
gpus-free-of = { $free } من { $total } GPU متاحة
cpus-free = المعالجات المتاحة
memory-free = الذاكرة المتاحة
cpus = { $count ->
    [zero] لا معالجات
    [one] معالج واحد
    [two] معالجان
    [few] { $count } معالجات
    [many] { $count } معالجاً
   *[other] { $count } معالج
}
runs-more = { $count ->
    [zero] لا غيرها
    [one] وآخر
    [two] وآخران
    [few] و{ $count } أخرى
    [many] و{ $count } أخرى
   *[other] و{ $count } أخرى
}
runs-none = لا شيء يعمل هنا.
out-of-service = خارج الخدمة
out-count = { $count ->
    [zero] لا حجر
    [one] حجر واحد
    [two] حجران
    [few] { $count } حالات حجر
    [many] { $count } حالة حجر
   *[other] { $count } حالة حجر
}
out-since = منذ { $when }
out-by = بالمفتاح { $key }
out-tried = { $count ->
    [zero] لا اختبارات فاشلة
    [one] اختبار واحد فاشل
    [two] اختباران فاشلان
    [few] { $count } اختبارات فاشلة
    [many] { $count } اختباراً فاشلاً
   *[other] { $count } اختبار فاشل
}
out-trial = قيد الاختبار
whole-node = العقدة كلها
fault-xid = خطأ في برنامج التشغيل
fault-ecc = أخطاء في الذاكرة
fault-row_remap = ذاكرة تحتاج إلى إصلاح
fault-temperature = حرارة زائدة
fault-throttled = إبطاء
fault-nvlink = روابط مقطوعة
fault-lost = مفقودة
fault-burn_in = اختبار فاشل
fault-operator = أخرجها مشغّل
drain = إخلاء
drain-ask = ينتهي ما يعمل هنا بعد إشارة الحفظ ويُعاد في مكان آخر، ولا يبدأ شيء جديد.
drain-sure = تأكيد الإخلاء
undrain = إعادة إلى الخدمة
undrain-ask = يجوز أن تبدأ فيها تشغيلات جديدة.
undrain-sure = تأكيد الإعادة
gpus = وحدات GPU
index = الرقم
run = التشغيل
gpu-number = { "\u2066" }GPU { $number }{ "\u2069" }
gpu-out = في الحجر
gpu-held = مستخدمة
gpu-withheld = محجوبة
gpu-free = متاحة
quarantine = وضع في الحجر
quarantine-what = لا يُعطى المختار لأحد حتى يُعاد.
quarantine-ask = تنتهي التشغيلات التي تشغله بعد إشارة الحفظ وتُعاد.
quarantine-sure = تأكيد الحجر
return = إعادة
return-what = الكل إن لم يُختر شيء
return-ask = يعود إلى الخدمة.
return-sure = تأكيد الإعادة
untested = فوراً دون مهمة الاختبار
no-burn-in = لا توجد مهمة اختبار: تُحدَّد في { "\u2066" }burn_in.script{ "\u2069" } في { "\u2066" }factory.toml{ "\u2069" }.

queue = طابور الانتظار
queue-none = لا شيء ينتظر.
waiting = في الانتظار
not-explained = لم يُنظر فيه

tenants = الجهات
tenants-none = لا جهة بهذا الاسم.
tenants-more = { $count ->
    [zero] لا جهات غير معروضة.
    [one] جهة أخرى غير معروضة: ابحث عنها.
    [two] جهتان أخريان غير معروضتين: ابحث عنهما.
    [few] { $count } جهات أخرى غير معروضة: ابحث عنها.
    [many] { $count } جهة أخرى غير معروضة: ابحث عنها.
   *[other] { $count } جهة أخرى غير معروضة: ابحث عنها.
}
tenant-open = مفتوحة
tenant-closed = مغلقة
tenant-owner = المالكة
held-gpus = وحدات GPU المشغولة
held-cpus = المعالجات المشغولة
held-runs = التشغيلات
held-workloads = غير المنتهية
spent-in = المنفق في { $month }
of-budget = من { $amount }
quota = الحصة
quota-weight = الوزن
quota-note = المشغول / المسموح به في وقت واحد. العلامة ∞ تعني بلا حد.
quota-help = الحقل الفارغ بلا حد؛ أما الوزن والأولوية فيلزمهما رقم.
quota-set = تغيير الحصة
limit-gpus = وحدات GPU
limit-cpus_milli = المعالجات
limit-memory_mib = الذاكرة، MiB
limit-runs = التشغيلات في وقت واحد
limit-workloads = أعباء العمل غير المنتهية
limit-weight = الوزن
limit-priority_max = أعلى أولوية
limit-budget_minor_per_month = ميزانية الشهر، { $currency }

keys = المفاتيح
keys-none = لا مفتاح بعد.
key-new = مفتاح جديد
key-issue = إصدار مفتاح
key-issued = صدر مفتاح
key-once = يُعرض الآن ولن يُعرض مرة أخرى: احفظه قبل مغادرة هذه الصفحة.
key-kept = حُفظ المفتاح
key-valid = صالح
key-expired = منتهي الصلاحية
key-revoked = مُلغى
scope = الصلاحية
issued = الإصدار
expires = الانتهاء
never = لا ينتهي
days-valid = مدة الصلاحية بالأيام
days-help = فارغ: حتى إلغائه.
revoke = إلغاء المفتاح
revoke-ask = يُمنع من يستخدمه فوراً ونهائياً.
revoke-sure = تأكيد إلغاء المفتاح

peers = النظراء
peers-none = لا يعرف هذا المصنع غيره بعد.
peer-invited = مدعو
peer-active = نشط
peer-leaving = يغادر
peer-left = غادر
peer-revoked = مُلغى
last-heard = آخر ما سُمع منه
ago = منذ { $span }
lent = المُعار له
hours = { $hours } بالتوقيت العالمي
offered = ما يعرضه
nothing = لا شيء

events = الأحداث
events-all = كل الأحداث
events-what = الأحدث أولاً، كما هي في سجل المصنع. التفاصيل بألفاظ السجل نفسه.
entry = القيد
at = الوقت
event = الحدث
about = الموضوع
detail = التفصيل
by = بالمفتاح
event-TenantPut = تغيّرت جهة
event-KeyPut = تغيّر مفتاح
event-NodePut = أُعلنت عقدة
event-NodeRemoved = غادرت عقدة
event-QuarantinePut = تغيّر حجر
event-SubmissionRefused = رُفض إرسال
event-WorkloadsSubmitted = قُبل إرسال
event-CancelAsked = طُلب إنهاء
event-ReplicaRested = سكنت نسخة أو أُوقظت
event-WorkspaceShared = شوركت مساحة عمل أو أُلغيت مشاركتها
event-ServiceScaled = تغيّر حجم خدمة
event-RunPlaced = حُدِّد موقع تشغيل
event-RunStarted = بدأ تشغيل
event-RunMetered = قيس تشغيل
event-StopOrdered = صدر أمر إيقاف
event-RunEnded = انتهى تشغيل
event-ArtifactKept = حُفظت مخرجات
event-ArtifactDropped = تُخلي عن مخرجات
event-FilesCrossed = عبرت ملفات حدوداً
event-TokensCharged = حُسبت رموز نصّية
event-VerdictsLapsed = انقضت قرارات
event-RunFenced = نُحّيت نتيجة متأخرة
event-GuestPut = تغيّر ضيف
event-GuestFilesDropped = تُخلي عن ملفات ضيف
event-GuestFilesGone = حُذفت ملفات ضيف
event-PeerPut = تغيّر نظير
event-StoreRestored = استُعيد المخزن
event-RecallWaived = نظير لم يعد يُنتظر
event-EpochsRaised = رُفعت الحقب
