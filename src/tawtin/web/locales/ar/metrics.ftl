### How much a run used over its time.

metrics = الاستخدام عبر الزمن
metrics-none = لم يُقَس منه شيء بعد. العناقيد الموصولة لا تعطي إلا المجاميع.
metrics-elsewhere = يُقاس في { $factory }، ويعود مجموع ما استخدمه مع إيصاله.
metrics-what = للتشغيل الأخير، بالتوقيت العالمي. كلما طال التشغيل قلّت مرات قياسه.
metric-when = الوقت
metric-cpu = المعالجات العاملة
metric-short-cpu = المعالج
metric-memory = الذاكرة المستخدمة
metric-short-memory = الذاكرة
metric-gpu = وحدات GPU العاملة، في المتوسط
metric-short-gpu = GPU
metric-asked = المطلوب
